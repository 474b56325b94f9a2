"""Where models come from: torchvision, timm, transformers, the user's own, and checkpoints."""
