"""Tiny configurations of every image-classification type of transformers."""

from collections.abc import Mapping
from typing import Any

_VIT = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_DROPPED = {**_VIT, "hidden_dropout_prob": 0.5}
_STAGED = {"hidden_sizes": [8, 16], "depths": [1, 1]}
_WINDOWS = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
_FOUR = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 99}
_TWO = {"vision_config": _VIT, "text_config": _TEXT}

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "beit": _DROPPED,
    "bit": {"embedding_size": 8, **_STAGED, "num_groups": 4},
    "clip": _TWO,
    "convnext": {"image_size": 32, **_STAGED, "num_stages": 2, "drop_path_rate": 0.5},
    "convnextv2": {"image_size": 32, **_STAGED, "num_stages": 2, "drop_path_rate": 0.5},
    "cvt": {"embed_dim": [8, 16, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "data2vec-vision": _DROPPED,
    "deit": _DROPPED,
    "dinov2": {**_VIT, "drop_path_rate": 0.5},
    "dinov2_with_registers": {**_VIT, "drop_path_rate": 0.5},
    "donut-swin": _WINDOWS,
    "efficientnet": {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320},
    "focalnet": {"image_size": 32, "embed_dim": 8, **_STAGED, "focal_levels": [1, 1], "focal_windows": [3, 3]},
    "hgnet_v2": {
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 16, 16],
        "depths": [1, 1, 1, 1],
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 8, 16, 16],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 16, 16, 16],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [2, 2, 2, 2],
    },
    "hiera": {
        "image_size": [64, 64],
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "query_stride": [2, 2],
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, False],
        "num_query_pool": 1,
    },
    "ijepa": _DROPPED,
    "levit": {
        "image_size": 64,
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [1, 2, 2],
        "depths": [1, 1, 1],
        "key_dim": [4, 4, 4],
    },
    "metaclip_2": _TWO,
    "mobilenet_v1": {"image_size": 32, "depth_multiplier": 0.25},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.35},
    "mobilevit": {
        "image_size": 64,
        "hidden_sizes": [16, 24, 32],
        "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32],
        "num_attention_heads": 2,
    },
    "mobilevitv2": {"image_size": 64, "width_multiplier": 0.25},
    "perceiver": {
        "num_latents": 4,
        "d_latents": 16,
        "d_model": 512,
        "image_size": 16,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 2,
        "num_cross_attention_heads": 1,
    },
    "poolformer": _FOUR,
    "pp_lcnet": {"scale": 0.25},
    "pvt": {"image_size": 64, **_FOUR, "num_attention_heads": [1, 1, 2, 2]},
    "pvt_v2": {"image_size": 64, **_FOUR, "num_attention_heads": [1, 1, 2, 2]},
    "regnet": {"embedding_size": 8, **_STAGED, "groups_width": 8},
    "resnet": {"embedding_size": 8, **_STAGED, "layer_type": "basic"},
    "segformer": {**_FOUR, "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 8},
    "siglip": _TWO,
    "swiftformer": {"image_size": 64, "embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "textnet": {
        "image_size": 64,
        "stem_out_channels": 8,
        "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[3, 3]], [[3, 3]]],
        "conv_layer_strides": [[1], [2], [2], [2]],
        "hidden_sizes": [8, 8, 8, 16, 16],
    },
    "vit": _DROPPED,
    "vit_msn": _DROPPED,
}
