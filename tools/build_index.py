"""Make the shipped index `zoo/index/*.json` again from the installed libraries.

    python tools/build_index.py [--source torchvision|timm|hf]

It runs where zoo is installed (`pip install -e .`). No weights are downloaded: a model is built on the meta
device, which holds shapes and no values, and one batch is run on it there to see in which order its parts run.
What cannot run so is built in memory when it is small enough; a larger one is entered without its running order.
"""

import argparse
import ast
import dataclasses
import functools
import inspect
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from looking import LeftOut, in_words, multiply_adds_and_pool, parameters_of, ran, runs_at
from torch import nn

from zoo.freezing.order import RunningOrder, places
from zoo.registry import ModelSpec, Preprocessing, set_spec
from zoo.sources import hf, pooling, timm, torchvision
from zoo.sources.heads import is_above_zero
from zoo.surgery import ends_in

INDEX = Path(__file__).parent.parent / "zoo" / "index"
LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
HF_CLASSES = 1000
"""The types' defaults say nothing of classes; this is what parameters are counted with."""

MAKES_NONE = (
    "timm makes no classifier for it, whatever its class count: it gives the tokens or the map of an encoder"
    " that is part of a model of language"
)

QUANTIZED = (
    "its weights are whole numbers of 8 bits in torch's quantized layers, which have no gradient;"
    " fine-tune torchvision:{} instead, and quantize what comes out"
)

AUXILIARY = (
    "its auxiliary classifiers, which served its first training, are left out of the weights that are loaded and of"
    " the training; saved files load in get_model(NAME, num_classes=N, aux_logits=False)"
)

LOOKS_UP_POSITIONS = ("MultiScaleVit",)
"""Models that fail at an index on larger pictures, which the meta device does not check."""

HF_LEFT_OUT = {
    "donut-swin": "its documented checkpoint reads documents",
    "hgnet_v2": "its documented checkpoint is a detector",
    "ijepa": "its documented checkpoint is larger than the type's defaults",
    "metaclip_2": "its documented checkpoint is larger than the type's defaults",
    "mobilevit": "its documented checkpoint is one of another type",
    "perceiver": "its documented checkpoint is a language model",
    "segformer": "its documented checkpoint is one of another type",
    "shieldgemma2": "it needs a text beside the picture",
    "timm_wrapper": "its models are those of the source timm",
}
"""Types whose documentation was read and found to name no picture classifier of the type's default shape."""

Facts = dict[str, Any]


def torchvision_names() -> list[str]:
    """All classifiers of torchvision, its quantized ones too."""
    from torchvision import models

    return [*models.list_models(module=models), *models.list_models(module=models.quantization)]


def torchvision_facts(name: str) -> Facts:
    """What torchvision states of a model, and what building it shows."""
    from torchvision import models

    sets = models.get_model_weights(name)
    usual = torchvision.preprocessing(name, None)
    given = torchvision.arguments(name, "DEFAULT", pretrained=True)
    create = functools.partial(torchvision.create, name, given)
    seen: Facts
    if name.startswith("quantized_"):
        with torch.device("meta"):
            seen = {"parameters": parameters_of(create()), "places": []}
        seen["refused"] = QUANTIZED.format(name.removeprefix("quantized_"))
    else:
        seen = examined(create, torchvision.head_path, usual, source="torchvision")
    if name in torchvision.WITH_AUXILIARY_HEADS:
        seen["note"] = AUXILIARY.replace("NAME", repr(name))
    weights = {each.name: _torchvision_weights(each) for each in sets}
    return {**seen, "preprocessing": usual, "default": sets.DEFAULT.name, "weights": weights}


def _torchvision_weights(chosen: Any) -> Facts:
    meta = chosen.meta
    scores = meta["_metrics"].get("ImageNet-1K", {})
    return _stated(
        preprocessing=torchvision.preprocessing_of(chosen.transforms()),
        url=chosen.url,
        mb=meta.get("_file_size"),
        accuracy=scores.get("acc@1"),
        accuracy5=scores.get("acc@5"),
        licence=meta.get("license"),
        docs=meta.get("recipe"),
        classes=len(meta["categories"]) if meta["categories"] else None,
    )


def timm_names() -> list[str]:
    """All architectures of timm, also those without weights."""
    from timm import models

    return list(models.list_models())


def timm_facts(name: str) -> Facts:
    """What timm states of an architecture and of each of its tags, and what building it shows."""
    from timm import models

    tags = _timm_pretrained().get(name, [])
    sets = {tag: models.get_pretrained_cfg(f"{name}.{tag}".removesuffix(".default")) for tag in tags}
    chosen = models.get_pretrained_cfg(name)
    default = (chosen.tag or "default") if sets else None
    usual = timm.preprocessing(name)
    seen = examined(lambda: timm.create(name), timm.head_path, usual, timm.lacks_classifier, "timm")
    if not chosen.num_classes:
        if "refused" in seen:
            seen["refused"] = MAKES_NONE
        elif not sets:
            seen["classes"] = 0
    weights = {tag: _timm_weights(each) for tag, each in sets.items()}
    return {**seen, "preprocessing": usual, "default": default, "weights": weights}


def _timm_weights(config: Any) -> Facts:
    place = {"hub": config.hf_hub_id} if config.hf_hub_id else {"url": config.url}
    return _stated(
        preprocessing=timm.preprocessing_of(config.to_dict()),
        **place,
        licence=config.license,
        docs=config.origin_url,
        classes=config.num_classes,
    )


@functools.cache
def _timm_pretrained() -> Mapping[str, list[str]]:
    """The tags of every architecture that has weights."""
    from timm import models

    tags: dict[str, list[str]] = {}
    for full in models.list_pretrained():
        name, _, tag = full.partition(".")
        tags.setdefault(name, []).append(tag or "default")
    return tags


def hf_names() -> list[str]:
    """The model types of transformers that classify pictures."""
    types: Any = import_module("transformers.models.auto.modeling_auto")
    return list(types.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)


def hf_facts(kind: str) -> Facts:
    """What transformers states of a model type, under the name of the checkpoint that it documents.

    No checkpoint's own files are read: parameters, sizes and preprocessing are those of the type's defaults.
    """
    if kind in HF_LEFT_OUT:
        raise LeftOut(HF_LEFT_OUT[kind])
    types: Any = import_module("transformers.models.auto.configuration_auto")
    config = types.CONFIG_MAPPING[kind]
    name = _documented_checkpoint(config)
    values = config(num_labels=HF_CLASSES).to_dict()
    usual = hf.preprocessing_of(_processor_defaults(kind, values.get("image_size")), values)
    seen = examined(lambda: hf.create(values), hf.head_path, usual, source="hf")
    stated = {"preprocessing": usual, "default": "default", "weights": {"default": {"hub": name}}}
    return {"name": name, "type": kind, **seen, **stated}


def _documented_checkpoint(config: type) -> str:
    """The hub name in `@auto_docstring(checkpoint=...)`, which is kept in the source text alone."""
    for part in ast.walk(ast.parse(Path(inspect.getfile(config)).read_text(encoding="utf-8"))):
        if not isinstance(part, ast.ClassDef) or part.name != config.__name__:
            continue
        for keyword in (each for call in part.decorator_list for each in getattr(call, "keywords", ())):
            if keyword.arg == "checkpoint" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    raise LeftOut("no checkpoint is documented")


def _processor_defaults(kind: str, size: Any) -> Facts:
    """What the type's image processor does by default, at the size that the type's model is made for."""
    types: Any = import_module("transformers.models.auto.image_processing_auto")
    if kind not in types.IMAGE_PROCESSOR_MAPPING_NAMES:
        return {}
    name = types.IMAGE_PROCESSOR_MAPPING_NAMES[kind]["torchvision"]
    stated: Facts = hf.stated_by(getattr(import_module("transformers"), name)())
    if isinstance(size, int) and not stated.get("do_center_crop"):
        stated["size"] = dict.fromkeys(stated["size"], size)
    return stated


def examined(
    build: Callable[[], nn.Module],
    head_path: Callable[[nn.Module], str | tuple[str, ...] | None],
    usual: Preprocessing,
    lacks_classifier: Callable[[nn.Module], bool] = lambda model: False,
    source: str = "own",
) -> Facts:
    """What a model with random weights shows of itself; a classifier that its weights lack is not counted."""
    model, order = ran(build, usual.size)
    paths = head_path(model) or ()
    paths = (paths,) if isinstance(paths, str) else paths
    modules = dict(model.named_modules())
    ends = [ends_in(modules[path]) if path in modules else None for path in paths]
    facts: Facts = {"parameters": parameters_of(model)}
    if not ends or None in ends:
        facts["refused"] = _why_not(paths, modules)
    else:
        facts |= _head_facts(model, paths, order)
        if lacks_classifier(model):
            facts["parameters"] -= sum(parameters_of(modules[path]) for path in paths)
    if order is not None:
        cost, pool = multiply_adds_and_pool(model, usual.size, facts.get("head"))
        facts |= _stated(pool=pool) | {"multiply_adds": cost}
    if order is not None and "refused" not in facts:
        facts |= fitting_facts(source, model, paths, usual, facts)
    others = [(usual.size[0] + 32, usual.size[1] + 32), (usual.size[0] * 2, usual.size[1] * 2)]
    looks_up = type(model).__name__ in LOOKS_UP_POSITIONS
    if order is not None and (looks_up or not any(runs_at(model, size) for size in others)):
        facts["fixed_size"] = True
    return {**facts, "places": places(model, order) if order else []}


def fitting_facts(
    source: str, model: nn.Module, paths: Sequence[str], usual: Preprocessing, seen: Mapping[str, Any]
) -> Facts:
    """Which heads and tasks fit a model, as far as that is not every one."""
    spec = ModelSpec(source, "", None, paths[0], seen["features"], seen["kind"], usual, more_heads=tuple(paths[1:]))
    set_spec(model, dataclasses.replace(spec, pool_path=seen.get("pool")))
    found = pooling.fitting(model)
    set_spec(model, None)
    facts: Facts = {"pools": found[0]} if found else {}
    if found and not found[1]:
        facts["fixed_features"] = True
    if is_above_zero(model, paths[0]):
        facts["above_zero"] = True
    return facts


def _head_facts(model: nn.Module, paths: Sequence[str], order: RunningOrder | None) -> Facts:
    ends = [ends_in(model.get_submodule(path)) or (0, 0, "vector") for path in paths]
    facts: Facts = {"head": paths[0], "features": ends[0][0], "kind": ends[0][2]}
    if len(paths) > 1:
        facts["more_heads"] = list(paths[1:])
    if order is None:
        return facts
    # transformers' models give an object, so that the head's own result has to do.
    given = order.shapes.get("", order.shapes.get(paths[0]))
    if given != (1, ends[0][1]):
        facts["refused"] = f"its result has the shape {given}, not one score a class"
    return facts


def _why_not(paths: Sequence[str], modules: Mapping[str, nn.Module]) -> str:
    for path in paths:
        if path not in modules:
            return f"it has no classifier at {path}"
        if ends_in(modules[path]) is None:
            kind = type(modules[path]).__name__
            return f"its classifier at {path} is a {kind}, neither a linear layer nor a 1×1 convolution"
    return "it states no place of a classifier"


def _stated(**facts: Any) -> Facts:
    """The facts that are there: torchvision has weights whose accuracy is not a number."""
    return {key: value for key, value in facts.items() if value is not None and value == value}


NAMES: Mapping[str, Callable[[], list[str]]] = {
    "torchvision": torchvision_names,
    "timm": timm_names,
    "hf": hf_names,
}
FACTS: Mapping[str, Callable[[str], Facts]] = {
    "torchvision": torchvision_facts,
    "timm": timm_facts,
    "hf": hf_facts,
}


def _examine(job: tuple[str, str]) -> tuple[str, Facts | str]:
    """The facts of one model, or why it is left out."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    source, name = job
    try:
        return name, FACTS[source](name)
    except LeftOut as reason:
        return name, str(reason)
    except Exception as error:  # one model of a thousand must not cost the others
        return name, in_words(error)


def build(source: str, processes: int) -> None:
    """Examine all models of one source and write its file."""
    jobs = [(source, name) for name in NAMES[source]()]
    found: dict[str, Facts] = {}
    left_out: dict[str, str] = {}
    begin = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=100) as pool:
        for name, facts in pool.imap(_examine, jobs):
            if isinstance(facts, str):
                left_out[name] = facts
            else:
                found[facts.pop("name", name)] = facts
            print(f"\r{len(found) + len(left_out)}/{len(jobs)} {source}:{name:50}", end="", flush=True)
    path = _write(source, found)
    size, seconds = path.stat().st_size / 1e6, time.perf_counter() - begin
    print(f"\r{path}: {len(found)} models, {size:.2f} MB, {seconds:.0f} s")
    for label, some in (
        ("refused", {name: facts["refused"] for name, facts in found.items() if "refused" in facts}),
        ("without running order", {name: "" for name, facts in found.items() if not facts["places"]}),
        ("left out", left_out),
    ):
        print(f"{label}: {len(some)}")
        for name, reason in some.items():
            print(f"    {name}: {reason}".rstrip(": "))


def _numbered(value: Any, usual: list[Preprocessing]) -> Any:
    """Facts with every preprocessing replaced by its number in the table."""
    if isinstance(value, Preprocessing):
        if value not in usual:
            usual.append(value)
        return usual.index(value)
    return {key: _numbered(each, usual) for key, each in value.items()} if isinstance(value, dict) else value


def _write(source: str, found: Mapping[str, Facts]) -> Path:
    library = LIBRARIES[source]
    usual: list[Preprocessing] = []
    lines = [f"{_compact(name)}:{_compact(_numbered(facts, usual))}" for name, facts in found.items()]
    models = ",\n".join(lines)
    table = ",\n".join(_compact(dataclasses.asdict(each)) for each in usual)
    head = f'"library":"{library}","version":"{version(library).partition("+")[0]}"'
    if source == "hf":
        head += f',\n"refused":{_compact(hf.REFUSED)}'
    path = INDEX / f"{source}.json"
    text = f'{{{head},\n"preprocessing":[\n{table}],\n"models":{{\n{models}}}}}\n'
    path.write_text(text, encoding="utf-8")
    return path


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--source", choices=NAMES, help="one source alone; all without it")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    for source in [asked.source] if asked.source else NAMES:
        build(source, asked.processes)


if __name__ == "__main__":
    main()
