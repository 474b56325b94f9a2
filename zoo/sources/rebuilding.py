"""Building a model again from the facts in its checkpoint: by zoo, and without it.

The few lines of Python that do it without zoo are written into the checkpoint, for people to read.
"""

from torch import nn

from zoo import surgery
from zoo.errors import CheckpointError, UsageError, ZooError
from zoo.head import building as heads
from zoo.names import listed, printable
from zoo.registry import HeadSpec, ModelSpec, entry, set_spec
from zoo.sources import hf, pooling
from zoo.sources.building import check_known, check_places, create


def rebuild(spec: ModelSpec, values: int) -> nn.Module:
    """The model that a checkpoint's facts describe, its head included, with random weights.

    `values` is how many numbers its weights hold: no model is made that would take many more.

    Raises UsageError when its source or its own registration is gone, or its head was a custom module,
    CheckpointError for facts that no model was saved with.
    """
    if spec.head is not None and spec.head.layers is None:
        raise UsageError(
            f"the head of this {spec.full_name} was a module of its author's own, which a checkpoint cannot build.",
            "build the model yourself, then: zoo.load_checkpoint(FOLDER, model=model)",
        )
    if spec.changed:
        raise UsageError(
            f"this {spec.full_name} was changed at {listed(spec.changed)}, which a checkpoint cannot build.",
            "change a model in the same way, then: zoo.load_checkpoint(FOLDER, model=model)",
            "zoo.resume, evaluate and predict take it too",
        )
    try:
        check_known(spec)
        if spec.source == "hf":
            hf.require_modest(spec.arguments["config"], values)
        return _rebuilt(spec)
    except ZooError:
        raise
    # Anybody may have written the facts, and each library fails on wrong ones in its own ways.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"the {spec.full_name} of the checkpoint cannot be built: {reason}.") from error


def _rebuilt(spec: ModelSpec) -> nn.Module:
    model = create(spec.source, spec.name, spec.arguments)
    check_places(model, spec)
    if spec.head is not None:
        assert spec.head.layers is not None
        if spec.head.pool is not None and spec.head.pool_path is not None:
            pooling.stand(model, spec.head.pool_path, heads.build([spec.head.pool]))
        for at, layers in zip(spec.head_paths, (spec.head.layers, *spec.head.more_layers), strict=True):
            new = heads.build(layers)
            if spec.head.mode == "append":
                new = nn.Sequential(surgery.get_module(model, at), new)
            surgery.replace_module(model, at, new)
        if spec.source == "hf":
            hf.set_classes(model, spec.head)
    set_spec(model, spec)
    return model.eval()


def rebuild_lines(spec: ModelSpec | None) -> tuple[str, ...]:
    """Lines that build the model with torch and its library alone and load `model.safetensors`.

    Empty for a model, a head or a change of the user's own, which no line of ours can build.
    """
    if spec is None or spec.changed or spec.source == "own" or (spec.head is not None and spec.head.layers is None):
        return ()
    head: HeadSpec | None = None
    surgery: list[str] = []
    if spec.head is not None:
        # The library's own constructor makes the linear head, and a place for another where it has none.
        if spec.head.mode == "replace" and (spec.head.preset == "linear" or _lacks_classifier(spec)):
            head = spec.head
        if spec.head.preset != "linear" or spec.head.mode != "replace":
            surgery = [*_surgery(spec), *_outputs(spec)]
    return (
        "from torch import nn",
        "from safetensors.torch import load_file",
        *_constructor(spec, head),
        *_first_layer(spec),
        *surgery,
        *_loading(spec),
        "model.eval()",
        *_meaning(spec),
    )


def _outputs(spec: ModelSpec) -> list[str]:
    """What a model of transformers knows of its outputs, for its own loss and its names."""
    if spec.source != "hf" or spec.head is None:
        return []
    stated = hf.classes_in_configuration(spec.head).items()
    return [*(f"model.config.{key} = {value!r}" for key, value in stated), f"model.num_labels = {spec.head.outputs}"]


def _meaning(spec: ModelSpec) -> tuple[str, ...]:
    """How outputs become probabilities of their own, or the numbers of a regression."""
    if spec.head is None or spec.head.task == "single-label":
        return ()
    # A name of the user's own is no line of Python, whatever it has in it.
    names = ", ".join(map(printable, spec.head.output_names))
    outputs = "model(pictures).logits" if spec.source == "hf" else "model(pictures)"
    if spec.head.task != "regression":
        word = "probability" if spec.head.outputs == 1 else "probabilities"
        return (f"# {word} of {names} = {outputs}.sigmoid()",)
    std, mean = list(spec.head.std), list(spec.head.mean)
    scale = f" * torch.tensor({std!r}) + torch.tensor({mean!r})" if mean else ""
    return (f"# {names} = {outputs}{scale}",)


def _lacks_classifier(spec: ModelSpec) -> bool:
    known = entry(spec.source, spec.name)
    return known is not None and known.lacks_classifier


def _loading(spec: ModelSpec) -> tuple[str, ...]:
    if spec.source != "torchvision" or not spec.name.startswith("mnasnet"):
        return ('model.load_state_dict(load_file("model.safetensors"))',)
    # mnasnet reads the version of its stem from the state dict's own metadata, which safetensors does not keep.
    return (
        'state, weights = model.state_dict(), load_file("model.safetensors")',
        "assert weights.keys() == state.keys()",
        "state.update(weights)",
        "model.load_state_dict(state)",
    )


def _constructor(spec: ModelSpec, head: HeadSpec | None) -> tuple[str, ...]:
    given = dict(spec.arguments)
    if spec.source == "hf":
        values = dict(given["config"])
        kind = values.pop("model_type")
        if head is not None:
            values.pop("num_labels", None)
            values |= hf.classes_in_configuration(head)
        return (
            "from transformers import AutoConfig, AutoModelForImageClassification",
            f"config = AutoConfig.for_model({kind!r}, **{values!r})",
            "model = AutoModelForImageClassification.from_config(config)",
        )
    if spec.source == "torchvision":
        given.pop("channels", None)
        given.pop("stem", None)
    if head is not None:
        given["num_classes"] = head.outputs
    if spec.source == "torchvision" and "aux_logits" in given:
        given["init_weights"] = False
    keywords = "".join(f", {key}={value!r}" for key, value in given.items())
    library = "torchvision.models" if spec.source == "torchvision" else "timm"
    function = "get_model" if spec.source == "torchvision" else "create_model"
    return (f"from {library} import {function}", f"model = {function}({spec.name!r}{keywords})")


def _first_layer(spec: ModelSpec) -> tuple[str, ...]:
    """torchvision, and some classes of transformers, build for three channels alone: the first layer is changed."""
    if "stem" not in spec.arguments:
        return ()
    path, channels = spec.arguments["stem"], spec.arguments["channels"]
    return (
        f"stem = model.get_submodule({path!r})",
        f"stem.in_channels = {channels!r}",
        f"stem.weight = nn.Parameter(stem.weight.new_zeros(stem.out_channels, {channels!r}, *stem.kernel_size))",
    )


def _surgery(spec: ModelSpec) -> list[str]:
    assert spec.head is not None
    assert spec.head.layers is not None
    pool = [spec.head.pool] if spec.head.pool is not None else []
    lines = heads.definitions_of([*pool, *spec.head.layers])
    if pool and spec.head.pool_path:
        parent, _, name = spec.head.pool_path.rpartition(".")
        # A place may be empty, which set_submodule refuses.
        lines.append(f"setattr(model.get_submodule({parent!r}), {name!r}, {heads.source_of(pool)})")
    for at, layers in zip(spec.head_paths, (spec.head.layers, *spec.head.more_layers), strict=True):
        new = heads.source_of(layers)
        if spec.head.mode == "append":
            new = f"nn.Sequential(model.get_submodule({at!r}), {new})"
        lines.append(f"model.set_submodule({at!r}, {new})")
    return lines
