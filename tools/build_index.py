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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.freezing.order import RunningOrder, places, record
from zoo.registry import Preprocessing
from zoo.sources import hf, timm, torchvision
from zoo.surgery import ends_in

INDEX = Path(__file__).parent.parent / "zoo" / "index"
LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
LARGEST_IN_MEMORY = 400e6
"""Parameters of the largest model that is built for real where the meta device fails."""

HF_CLASSES = 1000
"""The types' defaults say nothing of classes; this is what parameters are counted with."""

NO_CLASSIFIER = "its weights come without a classifier"

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


class LeftOut(Exception):  # noqa: N818
    """Why a model does not enter the index."""


def torchvision_names() -> list[str]:
    """All classifiers of torchvision."""
    from torchvision import models

    return list(models.list_models(module=models))


def torchvision_facts(name: str) -> Facts:
    """What torchvision states of a model, and what building it shows."""
    from torchvision import models

    sets = models.get_model_weights(name)
    usual = torchvision.preprocessing(name, None)
    given = torchvision.arguments(name, "DEFAULT", pretrained=True)
    create = functools.partial(torchvision.create, name, given)
    seen = examined(create, torchvision.head_path, torchvision.pool_path, usual)
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
    full = name
    if not chosen.num_classes:  # another tag may have been trained with a classifier
        full = next((f"{name}.{tag}" for tag, each in sets.items() if each.num_classes), name)
    usual = timm.preprocessing(full)
    seen = examined(lambda: timm.create(full), timm.head_path, timm.pool_path, usual)
    if not models.get_pretrained_cfg(full).num_classes:
        seen["refused"] = NO_CLASSIFIER
    weights = {tag: _timm_weights(each) for tag, each in sets.items()}
    return {**seen, "preprocessing": timm.preprocessing(name), "default": default, "weights": weights}


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
    seen = examined(lambda: hf.create(values), _hf_head_path, lambda model: None, usual)
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
    stated: Facts = getattr(import_module("transformers"), name)().to_dict()
    if isinstance(size, int) and not stated.get("do_center_crop"):
        stated["size"] = dict.fromkeys(stated["size"], size)
    return stated


def _hf_head_path(model: nn.Module) -> str | tuple[str, ...] | None:
    path = hf.head_path(model)
    outside = {name.rpartition(".")[0] for name in hf.outside_base(model)}
    heads = [each for each in outside if (ends_in(model.get_submodule(each)) or (0, 0))[1] == HF_CLASSES]
    return tuple(sorted(heads)) if len(heads) > 1 else path


def examined(
    build: Callable[[], nn.Module],
    head_path: Callable[[nn.Module], str | tuple[str, ...] | None],
    pool_path: Callable[[nn.Module], str | None],
    usual: Preprocessing,
) -> Facts:
    """What a model with random weights shows of itself."""
    model, order = ran(build, usual.size)
    path = head_path(model)
    module = dict(model.named_modules()).get(path) if isinstance(path, str) else None
    ends = ends_in(module) if module is not None else None
    facts: Facts = {"parameters": _size(model)}
    if ends is None:
        facts["refused"] = _why_not(path, module)
    else:
        facts |= {"head": path, "features": ends[0], "kind": ends[2]}
        # transformers' models give an object, so that the head's own result has to do.
        given = order and order.shapes.get("", order.shapes.get(str(path)))
        if order is not None and given != (1, ends[1]):
            facts["refused"] = f"its result has the shape {given}, not one score a class"
    facts |= _stated(pool=pool_path(model))
    others = [(usual.size[0] + 32, usual.size[1] + 32), (usual.size[0] * 2, usual.size[1] * 2)]
    looks_up = type(model).__name__ in LOOKS_UP_POSITIONS
    if order is not None and (looks_up or not any(_runs_at(model, size) for size in others)):
        facts["fixed_size"] = True
    return {**facts, "places": places(model, order) if order else []}


def ran(build: Callable[[], nn.Module], size: tuple[int, int]) -> tuple[nn.Module, RunningOrder | None]:
    """The model and its running order, without real memory where that is possible."""
    model, reason = None, ""
    for without_values in (torch.device("meta"), _parameters_on_meta()):
        try:
            with without_values:
                model = build().to("meta")
            return model, record(model, torch.zeros(1, 3, *size, device="meta"))
        except Exception as error:  # whatever a library's code raises when tensors have no values
            reason = _in_words(error)
    if model is None:
        raise LeftOut(f"it cannot be built: {reason}")
    if _size(model) > LARGEST_IN_MEMORY:
        return model, None
    print(f"\rin memory: {type(model).__name__}, since on the meta device {reason}", flush=True)
    model = build()
    return model, record(model, torch.zeros(1, 3, *size))


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Drop the values of parameters alone, as soon as a module gets them.

    This is for builders that compute counts of layers or rates with tensors, which have no values at all
    inside `torch.device("meta")`.
    """
    register = nn.Module.register_parameter

    def on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.detach().to("meta"), param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _runs_at(model: nn.Module, size: tuple[int, int]) -> bool:
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, *size, device=device))
    except Exception:  # a refusal has no class of its own
        return False
    return True


def _why_not(path: str | tuple[str, ...] | None, module: nn.Module | None) -> str:
    if isinstance(path, tuple):
        return f"it has {len(path)} heads ({', '.join(path)})"
    if path is None:
        return "it states no place of a classifier"
    if module is None:
        return f"it has no classifier at {path}"
    kind = type(module).__name__
    return f"its classifier at {path} is a {kind}, neither a linear layer nor a 1×1 convolution"


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
        return name, _in_words(error)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"


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
