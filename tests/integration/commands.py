"""What the tests of the command line share: tiny settings, and how a command fails."""

METHODS = ("none", "random", "mean", "linear", "knn", "restore")
RESTORER = (
    *("--set", "restorer.steps=60", "--set", "restorer.width=16"),
    *("--set", "restorer.n_layers=1", "--set", "restorer.batch_size=8"),
)
TINY = (
    *("--set", "training.encoder=st-gcn"),
    *("--set", "encoder.widths=[8,16]", "--set", "encoder.strides=[2,2]"),
    *("--set", "encoder.temporal_kernel=3", "--set", "opstl.projector_width=16"),
    *("--set", "training.batch_size=14", "--set", "linear.epochs=20", *RESTORER),
)
ONE_EPOCH = (*TINY, "--set", "training.epochs=1")


def list_all(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def data(root, dataset="synthetic"):
    return ("--dataset", dataset, "--root", root)


def faults(lines):
    """Leave out progress bars, and what a training says that it needs."""
    told = ("%|", ": weights: ", ": time: about ", ": memory: about ")
    return [line for line in lines if line and not any(words in line for words in told)]


def fault(command, *arguments):
    """Run a command that must fail by a fault of the user, in one line; return the line."""
    status, out, lines = command(*arguments)
    assert status == 2
    assert out == ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("iospstl-train: ")
    return lines[0].removeprefix("iospstl-train: ")
