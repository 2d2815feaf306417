"""Settings: one frozen object out of a file and flags; what is unknown or wrong is named."""

from pathlib import Path

import pytest

from weft.api.settings import ServerSettings, load_settings
from weft.model.errors import Invalid


def test_without_file_and_flags_the_defaults_stand() -> None:
    flags = {"listen": (), "db": None, "token_file": None, "switch_key": None, "project": None}
    assert load_settings(None, flags) == ServerSettings()


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text('listen = ["127.0.0.1:1"]\nproject = "p"\ntoken_file = "/etc/weft/tokens"\n')
    settings = load_settings(config, {"listen": ("unix:/run/weft.sock", "fd:3"), "db": "", "switch_key": "/k"})
    assert settings == ServerSettings(
        listen=("unix:/run/weft.sock", "fd:3"),
        project="p",
        token_file=Path("/etc/weft/tokens"),
        switch_key=Path("/k"),
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('lisen = ["127.0.0.1:1"]', "lisen"),
        ('listen = "127.0.0.1:1"', "$.listen"),
        ("db = 5", "$.db"),
        ("token_file = 5", "$.token_file"),
        ("db = ", "is not TOML"),
        ("[[kubernetes]]", "name"),
        ('[[kubernetes]]\nname = "a/b"', "'a/b' is empty or has a /"),
        ('[[kubernetes]]\nname = "a"\n[[kubernetes]]\nname = "a"', "names 'a' twice"),
        ('[[kubernetes]]\nname = "a"\ncontext = "c"', "context 'c', but no kubeconfig"),
        ('[[kubernetes]]\nname = "a"\nkubeconfg = "/k"', "kubeconfg"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    config = tmp_path / "server.toml"
    config.write_text(text)
    with pytest.raises(Invalid) as caught:
        load_settings(config, {})
    assert named in caught.value.message
    assert str(config) in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nowhere\.toml: No such file"):
        load_settings(tmp_path / "nowhere.toml", {})
