"""What agents may call: one file a tool, typed in, typed out; and what tools share."""
