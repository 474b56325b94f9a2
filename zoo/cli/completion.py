"""What a shell completes: names out of the index and the catalog."""

from zoo import catalog, registry


def model_names(incomplete: str) -> list[str]:
    """Models whose name, with or without its source, begins like this."""
    names = registry.known("torchvision") + registry.known("timm") + registry.known("hf") + registry.known("own")
    bare = [name.partition(":")[2] for source in ("torchvision", "timm") for name in registry.known(source)]
    return [name for name in dict.fromkeys((*bare, *names)) if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    """Recipes whose name begins like this."""
    return [name for name in catalog.names("recipes") if name.startswith(incomplete)]


def head_names(incomplete: str) -> list[str]:
    """Heads whose name begins like this."""
    return [name for name in catalog.names("heads") if name.startswith(incomplete)]
