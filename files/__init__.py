"""What lies on a disk: reading and writing safetensors, hashing, memory maps, files that appear whole or not at all."""
