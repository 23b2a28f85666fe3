from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from iospstl_core.skeleton import KINECT_V1_20, NTU_25, map_joints
from iospstl_train.evaluation.pictures import (
    IMPUTED_COLOR,
    SEEN_COLOR,
    draw_confusion,
    draw_imputation_gif,
    draw_imputation_strip,
)

DRAWERS = (draw_imputation_strip, draw_imputation_gif)
KNEE = NTU_25.index("KneeLeft")
N_FRAMES = 7
NO_MATH = "$x^{$"
"""A picture must not take names for formulas; this one cannot be read as one."""


def make_window(n_persons: int = 1) -> np.ndarray:
    """The resting pose, moving a little to one side; persons stand 1 m behind each other."""
    rest = np.asarray(NTU_25.rest_m, dtype=np.float32)
    window = np.tile(rest, (N_FRAMES, n_persons, 1, 1))
    window[..., 0] += np.linspace(0, 0.1, N_FRAMES, dtype=np.float32)[:, None, None]
    window[..., 2] += np.arange(n_persons, dtype=np.float32)[:, None]
    return window


def hide_left_leg(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is seen, and a completion that is 3 cm too high."""
    leg = [NTU_25.index(f"{joint}Left") for joint in ("Knee", "Ankle", "Foot")]
    occluded, filled = truth.copy(), truth.copy()
    occluded[:, :, leg] = np.nan
    filled[:, :, leg, 1] += 0.03
    return occluded, filled


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures in the order in which they were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def spy(self: Figure, *args: object, **settings: object) -> None:
        figures.append(self)
        save(self, *args, **settings)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


def panel_points(figure: Figure, panel: int) -> np.ndarray:
    """Joints of all persons in a panel, (n, 2); the last drawn body, not its shadow."""
    dots = [c for c in figure.axes[panel].collections if isinstance(c, PathCollection)]
    return np.asarray(dots[-1].get_offsets())


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.verify()
        return image.size


def test_strip_is_a_png_with_three_rows(tmp_path: Path, drawn: list[Figure]):
    truth = make_window()
    path = tmp_path / "new" / "strip.png"
    draw_imputation_strip(path, *hide_left_leg(truth), truth, title=f"ä {NO_MATH}")
    assert size_of(path)[0] > 600
    (figure,) = drawn
    assert len(figure.axes) == 3 * 6
    labels = [figure.axes[row * 6].get_ylabel() for row in range(3)]
    assert labels == ["seen by\nthe camera", "completed", "truth"]
    titles = [axis.get_title() for axis in figure.axes[:6]]
    assert titles[0] == "frame 1 of 7"
    assert titles[-1] == "frame 7 of 7"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["seen", "imputed", "truth"]


def test_all_panels_have_the_same_equal_scale(tmp_path: Path, drawn: list[Figure]):
    truth = make_window()
    occluded, filled = hide_left_leg(truth)
    draw_imputation_strip(tmp_path / "strip.png", occluded, filled, truth, n_shown=2)
    axes = drawn[0].axes
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in axes}) == 1
    for axis in axes:
        box = axis.get_window_extent()
        across, up = np.diff(axis.get_xlim())[0], np.diff(axis.get_ylim())[0]
        assert box.width / across == pytest.approx(box.height / up, rel=1e-3)
        assert (axis.get_xticks().size, axis.get_yticks().size) == (0, 0)
    low, high = np.array([axes[0].get_xlim(), axes[0].get_ylim()]).T
    shown = np.stack([-truth[..., 0], truth[..., 1]], axis=-1)
    assert (shown > low).all()
    assert (shown < high).all()


@pytest.mark.parametrize("n_shown", [1, 3, 20])
def test_strip_shows_as_many_frames_as_asked_and_there_are(
    tmp_path: Path, drawn: list[Figure], n_shown: int
):
    truth = make_window()
    draw_imputation_strip(tmp_path / "strip.png", *hide_left_leg(truth), truth, n_shown=n_shown)
    assert len(drawn[0].axes) == 3 * min(n_shown, N_FRAMES)


def test_right_hand_of_who_faces_us_is_on_the_left(tmp_path: Path, drawn: list[Figure]):
    truth = make_window()
    draw_imputation_strip(tmp_path / "strip.png", truth, truth, truth, n_shown=1)
    points = panel_points(drawn[0], 0)
    assert points[NTU_25.index("HandRight"), 0] < points[NTU_25.index("HandLeft"), 0]
    assert points[NTU_25.index("Head"), 1] > points[NTU_25.index("FootLeft"), 1]


def test_colors_tell_what_was_imputed_and_how_well(tmp_path: Path, drawn: list[Figure]):
    truth = make_window()
    draw_imputation_strip(tmp_path / "strip.png", *hide_left_leg(truth), truth, n_shown=1)
    seen, completed, _ = drawn[0].axes
    assert len(panel_points(drawn[0], 0)) == 22
    assert len(panel_points(drawn[0], 1)) == 25
    bones = [c for c in completed.collections if isinstance(c, LineCollection)][-1]
    colors = [tuple(color) for color in bones.get_colors()]
    assert colors.count(to_rgba(IMPUTED_COLOR)) == 3
    assert colors.count(to_rgba(SEEN_COLOR)) == 21
    assert [text.get_text() for text in completed.texts] == ["off by 30 mm"]
    assert not seen.texts


def test_error_counts_only_what_can_be_compared(tmp_path: Path, drawn: list[Figure]):
    truth = make_window()
    occluded, filled = hide_left_leg(truth)
    filled[..., KNEE, 1] += 0.03
    filled[0, :, KNEE + 1 :] = np.nan
    truth[1] = np.nan
    draw_imputation_strip(tmp_path / "strip.png", occluded, filled, truth, n_shown=N_FRAMES)
    completed = drawn[0].axes[N_FRAMES : N_FRAMES + 3]
    texts = [[text.get_text() for text in axis.texts] for axis in completed]
    assert texts == [["off by 60 mm"], [], ["off by 40 mm"]]


def test_joints_that_a_source_never_has_are_bridged(tmp_path: Path, drawn: list[Figure]):
    names = [KINECT_V1_20.equivalents.get(name, name) for name in KINECT_V1_20.joints]
    body = make_window()[:, :, [NTU_25.index(name) for name in names]]
    truth, _ = map_joints(body, KINECT_V1_20, NTU_25)
    draw_imputation_strip(tmp_path / "strip.png", truth, truth, truth, n_shown=1)
    bones = drawn[0].axes[0].collections[0]
    assert isinstance(bones, LineCollection)
    assert len(bones.get_segments()) == 19
    head = truth[0, 0, NTU_25.index("Head"), 1]
    assert any(np.isclose(bone[:, 1], head).any() for bone in bones.get_segments())


def test_two_persons_stand_side_by_side(tmp_path: Path, drawn: list[Figure]):
    truth = make_window(n_persons=2)
    draw_imputation_strip(tmp_path / "strip.png", truth, truth, truth, n_shown=1)
    dots = [c for c in drawn[0].axes[0].collections if isinstance(c, PathCollection)]
    first, second = (np.asarray(c.get_offsets()).mean(axis=0) for c in dots)
    assert abs(second[0] - first[0]) == pytest.approx(1.0, abs=1e-3)


def test_an_absent_person_is_not_drawn(tmp_path: Path, drawn: list[Figure]):
    truth = make_window(n_persons=2)
    truth[:, 1] = np.nan
    draw_imputation_strip(tmp_path / "strip.png", truth, truth, truth, n_shown=1)
    assert len(panel_points(drawn[0], 0)) == 0
    width = np.diff(drawn[0].axes[0].get_xlim())[0]
    assert width < 2


def test_gif_has_every_frame(tmp_path: Path):
    truth = make_window()
    path = tmp_path / "window.gif"
    draw_imputation_gif(path, *hide_left_leg(truth), truth, title="one", fps=20)
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.n_frames == N_FRAMES
        assert image.info["duration"] == 50
        assert image.info["loop"] == 0
        width, height = image.size
        frames = []
        for frame in range(N_FRAMES):
            image.seek(frame)
            frames.append(np.asarray(image.convert("RGB"), dtype=np.int16))
    assert width > height
    moved = np.abs(frames[0] - frames[-1]).max(axis=(0, 2))
    assert all(third.max() > 50 for third in np.array_split(moved, 3))
    blue = [int((np.ptp(frame, axis=2) > 80).sum()) for frame in frames]
    assert max(blue) < 1.2 * min(blue)  # a frame shows nothing of those before it


def test_gif_of_a_standing_person_keeps_its_frames(tmp_path: Path):
    truth = np.repeat(make_window()[:1], 3, axis=0)
    draw_imputation_gif(tmp_path / "still.gif", truth, truth, truth)
    with Image.open(tmp_path / "still.gif") as image:
        assert image.n_frames == 3


def test_confusion_has_counts_for_few_classes(tmp_path: Path, drawn: list[Figure]):
    labels, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])
    names = ["sit\ndown", f"Größe {NO_MATH} " + "very " * 20, "never"]
    draw_confusion(tmp_path / "confusion.png", labels, predicted, names)
    assert size_of(tmp_path / "confusion.png")[0] > 300
    axis = drawn[0].axes[0]
    assert axis.get_title() == "80.0% of 5 test sequences recognized"
    shares = axis.images[0].get_array()
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]])
    counts = {text.get_position(): text.get_text() for text in axis.texts}
    assert counts == {(0, 0): "2", (1, 0): "1", (1, 1): "2"}
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert (rows[0], rows[2]) == ("sit down (3)", "never (0)")
    assert rows[1].endswith("… (2)")
    assert len(rows[1]) == 32 + len(" (2)")


def test_confusion_of_many_classes_grows_and_has_no_counts(tmp_path: Path, drawn: list[Figure]):
    labels = np.arange(30)
    draw_confusion(tmp_path / "30.png", labels, labels, [f"class {i}" for i in labels])
    draw_confusion(tmp_path / "5.png", labels[:5], labels[:5], [f"class {i}" for i in range(5)])
    assert not drawn[0].axes[0].texts
    assert size_of(tmp_path / "30.png")[0] > 1.3 * size_of(tmp_path / "5.png")[0]
    height_in = drawn[0].axes[0].get_window_extent().height / drawn[0].dpi
    assert height_in / 30 > 7 / 72  # a row is higher than its letters


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_that_the_font_lacks_do_not_break(tmp_path: Path):
    draw_confusion(tmp_path / "c.png", np.array([0]), np.array([0]), ["漢字 🤖"])
    assert size_of(tmp_path / "c.png")


@pytest.mark.parametrize("predicted", [[0, 1], [0, 1, 2], [0, 1, -1]])
def test_confusion_refuses_what_has_no_name(tmp_path: Path, predicted: list[int]):
    with pytest.raises(ValueError, match="from 0 to 1, got 3 and"):
        draw_confusion(tmp_path / "c.png", np.array([0, 1, 1]), np.array(predicted), ["a", "b"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("draw", DRAWERS)
def test_windows_that_differ_are_refused(tmp_path: Path, draw: Callable[..., None]):
    truth = make_window()
    for windows in ((truth, truth, truth[1:]), (truth[..., :20, :],) * 3, (truth[:0],) * 3):
        with pytest.raises(ValueError, match=r"expected \(n_frames, n_persons, 25, 3\) each, got"):
            draw(tmp_path / "picture.png", *windows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("draw", DRAWERS)
def test_windows_without_anything_known_give_empty_panels(
    tmp_path: Path, draw: Callable[..., None]
):
    nothing = np.full((2, 1, 25, 3), np.nan, dtype=np.float32)
    path = tmp_path / ("x.gif" if draw is draw_imputation_gif else "x.png")
    draw(path, nothing, nothing, nothing)
    assert size_of(path)


@pytest.mark.parametrize("name", ["strip.png", "window.gif", "confusion.png"])
def test_a_picture_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    def fail(self: object, path: Path, *args: object, **settings: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    (tmp_path / name).write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fail)
    monkeypatch.setattr(Image.Image, "save", fail)
    truth, labels = make_window(), np.array([0])
    with pytest.raises(OSError, match="disk full"):
        if name == "confusion.png":
            draw_confusion(tmp_path / name, labels, labels, ["a"])
        else:
            draw = draw_imputation_gif if name.endswith("gif") else draw_imputation_strip
            draw(tmp_path / name, truth, truth, truth)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"old"}
