"""Names that kohya's trainers write for modules of pico denoisers. Written by hand: an oracle for what reads them."""

from __future__ import annotations

ATTN = "attentions.0.transformer_blocks.0"
FLAT = {
    "sd15": {
        "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": [f"down_blocks.0.{ATTN}.attn1.to_q"],
        "mid_block_resnets_0_conv1": ["mid_block.resnets.0.conv1"],
        "up_blocks_1_attentions_0_proj_in": ["up_blocks.1.attentions.0.proj_in"],
    },
    "sdxl": {
        "input_blocks_4_1_transformer_blocks_1_attn2_to_k": [
            "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k"
        ],
        "input_blocks_3_0_op": ["down_blocks.0.downsamplers.0.conv"],
        "middle_block_1_transformer_blocks_0_ff_net_0_proj": [f"mid_block.{ATTN}.ff.net.0.proj"],
        "middle_block_2_in_layers_2": ["mid_block.resnets.1.conv1"],
        "output_blocks_2_2_conv": ["up_blocks.0.upsamplers.0.conv"],
        "output_blocks_5_0_skip_connection": ["up_blocks.1.resnets.2.conv_shortcut"],
        "label_emb_0_0": ["add_embedding.linear_1"],
    },
    "sd3": {
        "joint_blocks_1_x_block_attn_qkv": [f"transformer_blocks.1.attn.to_{n}" for n in "qkv"],
        "joint_blocks_0_context_block_attn_qkv": [f"transformer_blocks.0.attn.add_{n}_proj" for n in "qkv"],
        "joint_blocks_0_x_block_attn2_proj": ["transformer_blocks.0.attn2.to_out.0"],
        "joint_blocks_0_x_block_mlp_fc1": ["transformer_blocks.0.ff.net.0.proj"],
        "joint_blocks_0_x_block_adaLN_modulation_1": ["transformer_blocks.0.norm1.linear"],
        "joint_blocks_1_context_block_adaLN_modulation_1": ["transformer_blocks.1.norm1_context.linear", "swap"],
        "final_layer_adaLN_modulation_1": ["norm_out.linear", "swap"],
    },
    "flux1": {
        "double_blocks_1_img_attn_qkv": [f"transformer_blocks.1.attn.to_{n}" for n in "qkv"],
        "double_blocks_0_txt_attn_qkv": [f"transformer_blocks.0.attn.add_{n}_proj" for n in "qkv"],
        "double_blocks_0_txt_mlp_2": ["transformer_blocks.0.ff_context.net.2"],
        "single_blocks_1_linear1": [
            *(f"single_transformer_blocks.1.attn.to_{n}" for n in "qkv"),
            "single_transformer_blocks.1.proj_mlp",
        ],
        "single_blocks_0_linear2": ["single_transformer_blocks.0.proj_out"],
        "final_layer_adaLN_modulation_1": ["norm_out.linear", "swap"],
    },
    "flux2": {
        "double_blocks_1_txt_attn_qkv": [f"transformer_blocks.1.attn.add_{n}_proj" for n in "qkv"],
        "double_blocks_0_img_mlp_2": ["transformer_blocks.0.ff.linear_out"],
        "single_blocks_1_linear1": ["single_transformer_blocks.1.attn.to_qkv_mlp_proj"],
        "final_layer_adaLN_modulation_1": ["norm_out.linear", "swap"],
    },
    "qwen": {
        "transformer_blocks_1_attn_add_q_proj": ["transformer_blocks.1.attn.add_q_proj"],
        "transformer_blocks_0_img_mlp_net_0_proj": ["transformer_blocks.0.img_mlp.net.0.proj"],
        "transformer_blocks_0_txt_mod_1": ["transformer_blocks.0.txt_mod.1"],
    },
    "z_image": {
        "layers_1_attention_qkv": [f"layers.1.attention.to_{n}" for n in "qkv"],
        "context_refiner_0_attention_out": ["context_refiner.0.attention.to_out.0"],
        "layers_0_feed_forward_w1": ["layers.0.feed_forward.w1"],
    },
}
"""File names (kohya's flat ones, with the original code's module names where trainers use those) -> our modules, in the
order of the fused rows; "swap" marks shift and scale the other way round."""
