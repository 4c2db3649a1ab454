"""A vision-language model as the critic: one yes/no question an atom, the answer's probability, calibrated. Named
``vlm:openai:MODEL`` (a server) or ``vlm:local:PATH_OR_ID`` (in process).
"""
