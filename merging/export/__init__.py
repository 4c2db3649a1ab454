"""Plans written to disk: one LoRA, the merged denoiser, or a whole diffusers folder."""
