"""What zoo says when something is wrong, and the exit code that goes with it.

    ZooError
    ├── UsageError       2   a flag, a name, a policy or a recipe that cannot be meant
    ├── DataError        3   the pictures or their folders
    ├── CheckpointError  4   weights or a checkpoint that are refused
    ├── StorageError     5   the disk or the network
    ├── NumericsError    6   a loss, a gradient or a weight that is no number
    ├── OutOfMemoryError 7   the memory of the device, or of the machine
    └── Stopped        130   Ctrl-C, after a checkpoint was saved; 143, 129, 138 by SIGTERM, SIGHUP, SIGUSR1

Each says in at most three lines what was given, what is allowed and what to do.
"""


class ZooError(Exception):
    """A mistake or a failure that its user can act on.

    >>> str(ZooError("no model is called 'resnet81'.", "near: torchvision:resnet18"))
    "no model is called 'resnet81'.\\n  near: torchvision:resnet18"
    """

    exit_code = 1

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__("\n  ".join((message, *hints)))
        self.message = message
        self.hints = hints


class UsageError(ZooError):
    """A flag, a name, a policy or a recipe that cannot be meant."""

    exit_code = 2


class DataError(ZooError):
    """Pictures or folders that cannot be used."""

    exit_code = 3


class CheckpointError(ZooError):
    """Weights or a checkpoint that are refused."""

    exit_code = 4


class StorageError(ZooError):
    """The disk or the network failed."""

    exit_code = 5


class NumericsError(ZooError):
    """The loss, a gradient or a weight is no number any more."""

    exit_code = 6


class OutOfMemoryError(ZooError):
    """The device has too little memory for a step, or the machine for the processes that read."""

    exit_code = 7


class Stopped(ZooError):  # noqa: N818 - not an error: what the user asked for
    """A signal ended the run after its state was saved; the exit code tells which one."""

    exit_code = 130

    def __init__(self, message: str, *hints: str, exit_code: int = 130) -> None:
        super().__init__(message, *hints)
        self.exit_code = exit_code
