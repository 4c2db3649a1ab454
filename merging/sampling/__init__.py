"""From merged weights to images: the pipeline, schedules, the record in a PNG, replay."""
