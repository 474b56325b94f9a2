"""What goes wrong in the middle of the work, in words that a user can act on."""

import contextlib
from collections.abc import Iterator

import torch

from zoo.errors import DataError, OutOfMemoryError, UsageError
from zoo.finetuning.plan import Plan


@contextlib.contextmanager
def explained(plan: Plan) -> Iterator[None]:
    """Give the errors of steps, of whatever they are taken for, the words that a user needs."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{plan.device.device} has too little memory for steps of {plan.recipe.batch_size} pictures.",
            "try a smaller --batch-size (--accumulate keeps the step as large) or --img-size, or freeze more",
        ) from error
    except OutOfMemoryError as error:
        raise OutOfMemoryError(
            error.message, *error.hints, "zoo resume RUN --workers 0 goes on with a run"
        ) from error.__cause__
    except OSError as error:
        raise DataError(f"a picture cannot be read any more: {str(error).splitlines()[-1]}.") from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "a batch norm cannot learn from a single number a channel.",
            "take a larger --batch-size or --img-size, or freeze the backbone",
        ) from error
    except RuntimeError as error:
        if plan.device.deterministic and "CUBLAS_WORKSPACE_CONFIG" in str(error):
            raise UsageError(
                "deterministic was asked for after this process had multiplied matrices on the GPU another way.",
                "set CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts",
            ) from error
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise UsageError(
            f"{str(error).split()[0]} has no way on {plan.device.device} that repeats itself bit for bit.",
            "leave --deterministic out, or freeze what stands before it",
        ) from error
