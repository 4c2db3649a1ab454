"""Finding experts by what is said of them: an index of words that is kept up to date, and evidence weighed"""
