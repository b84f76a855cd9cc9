"""README, package metadata and ComfyUI's requirements say the same as the code."""

import re
import shlex
import shutil
import subprocess

import pytest
from PIL import Image
from trees import ROOT

from depictqa_core import __version__
from depictqa_core.cli import commands as cli
from depictqa_core.loading.checkpoint_folder import BUNDLED
from depictqa_core.runtime.versions import OLDEST

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def code_blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_commands_of_the_readme_are_understood():
    lines = [line for block in code_blocks("sh") for line in block.splitlines() if line.startswith("depictqa ")]
    verbs = {cli.parse(shlex.split(line, comments=True)[1:]).verb for line in lines}
    known = "identify describe compare score rank map leaderboard info import check judge report cull metrics serve"
    assert verbs == {*known.split(), "video", "study"}


def test_python_of_the_readme_compiles():
    blocks = code_blocks("python")
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")


def leads_somewhere(link):
    path, _, heading = link.partition("#")
    if not heading:
        return (ROOT / path).exists()
    text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    missing = [link for link in links if not leads_somewhere(link)]
    if missing == ["web/docs/ranking.jpg"] and not BUNDLED.is_dir():
        pytest.skip("the sheet is made by the bundled model, which is not here")
    assert not missing


def test_nodes_of_the_readme_exist():
    named = set(re.findall(r"`(DepictQA_\w+)`", README))
    coded = set(re.findall(r'node_id="(DepictQA_\w+)"', "".join(p.read_text() for p in (ROOT / "nodes").glob("*.py"))))
    assert named == coded


def lines_of(path):
    return [line for line in (ROOT / path).read_text().splitlines() if not line.startswith("#")]


def test_the_oldest_supported_versions_are_the_same_everywhere():
    oldest = [f"{name}>={version}" for name, version in OLDEST.items()]
    (block,) = re.findall(r"^dependencies = \[(.*?)\]", PROJECT, flags=re.S | re.M)
    assert re.findall(r'"([^"]+)"', block) == oldest == lines_of("requirements.txt")
    tested = dict(line.split("==") for line in lines_of("tests/oldest_packages.txt"))
    assert {name: tested.get(name) for name in OLDEST if name != "torch"}.items() <= OLDEST.items()
    assert f"torch=={OLDEST['torch']}" in (ROOT / "Makefile").read_text()
    assert all(f"{name} {version}" in README for name, version in OLDEST.items())


def test_versions_agree():
    assert f'version = "{__version__}"' in PROJECT
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(__version__)}$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)


def test_the_owners_name_is_a_placeholder_in_one_place():
    files = [
        path for pattern in ("*.md", "docs/*.md", "*.toml", "*.cff", ".github/**/*") for path in ROOT.glob(pattern)
    ]
    named = {path.name for path in files if path.is_file() and "github.com/OWNER" in path.read_text()}
    assert named == {"pyproject.toml"}


def test_installation_texts_work_from_a_checkout():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("training/**/*.md")]
    sources = [path for top in ("depictqa_core", "training", "nodes") for path in (ROOT / top).rglob("*.py")]
    for page in [*pages, *sources]:
        text = page.read_text(encoding="utf-8")
        assert "<this repository>" not in text and not re.search(r"install (-e )?[\"']?depictqa\b", text), page
        assert all("--depth 1" in line for line in text.splitlines() if "git clone " in line), page


@pytest.mark.parametrize(("name", "size"), [("icon", (400, 400)), ("banner", (1260, 540))])
def test_the_registry_gets_its_images(name, size):
    (address,) = re.findall(rf'^{name.title()} = "(.*)"$', PROJECT, flags=re.M)
    with Image.open(ROOT / "web" / address.rpartition("/web/")[2]) as image:
        assert image.size == size and image.format == "PNG"


def test_the_registry_understands_the_metadata():
    """What docs.comfy.org/registry/specifications demands, and comfy-cli only warns of: it would drop the field."""
    data = pytest.importorskip("tomllib").loads(PROJECT)  # Python 3.11
    project, comfy = data["project"], data["tool"]["comfy"]
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", project["name"]) and "comfy" not in project["name"]
    assert len(project["name"]) < 100 and re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["license"] == "Apache-2.0" and (ROOT / "LICENSE").is_file() and project["description"]
    assert re.fullmatch(r"[a-z0-9-]+", comfy["PublisherId"]) and comfy["DisplayName"] == "DepictQA"
    assert re.fullmatch(r"(?:>=|==|~=|<)\d+\.\d+\.\d+(?:,<\d+\.\d+\.\d+)?", comfy["requires-comfyui"])
    home = project["urls"]["Repository"]
    raw = home.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    for field in ("Icon", "Banner"):
        assert comfy[field].startswith(raw) and (ROOT / comfy[field].removeprefix(raw)).is_file()
    systems = [line for line in project["classifiers"] if line.startswith("Operating System :: ")]
    assert systems == ["Operating System :: OS Independent"]
    assert not [line for line in project["classifiers"] if line.startswith("Environment :: ")]


def test_the_archive_of_the_registry_has_what_the_nodes_need_and_no_more():
    """The registry packs the tracked files, less what .comfyignore lists."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")

    def tracked(*options):
        listed = subprocess.run([git, "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=True)
        return set(listed.stdout.splitlines())

    packed = tracked() - tracked("-c", "-i", "--exclude-from=.comfyignore")
    tops = {path.partition("/")[0] for path in packed}
    assert {"__init__.py", "nodes", "depictqa_core", "locales", "web", "workflows"} <= tops
    assert {"requirements.txt", "pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= tops
    assert not {"tests", "benchmarks", ".ci", ".github", "constraints.txt"} & tops
    assert "web/js/answers.js" in packed and "locales/ja/nodeDefs.json" in packed
    assert sum((ROOT / path).stat().st_size for path in packed) < 60_000_000


def test_samples_are_small_and_readable():
    folder = ROOT / "workflows/samples"
    top, every = sorted(folder.glob("*.jpg")), sorted(folder.rglob("*.jpg"))
    notes = (folder / "README.md").read_text()
    assert 6 <= len(top) <= 8 and sum(path.stat().st_size for path in every) <= 2_000_000
    for path in every:
        with Image.open(path) as image:
            image.load()
            assert image.format == "JPEG" and (path not in top or image.size == (320, 320))
        assert path.name in notes or "original" in path.name or f"`{path.relative_to(folder).parts[0]}/" in notes


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    pages = [ROOT / ".ci/run", *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
    pages += [*(ROOT / "docs").glob("*.md"), *(ROOT / ".github/workflows").glob("*.yml")]
    commands = r"(?:^\s*|`|run: )make ([a-z][\w-]*)"
    named = {name for page in pages for name in re.findall(commands, page.read_text(encoding="utf-8"), flags=re.M)}
    assert {"test", "test-fast", "bench", "lint"} <= named <= targets
