"""A configuration is read whole or refused, and every mistake is told with its file, line and field."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr

from servicekit.config import ConfigError, ConfigModel, effective, effective_yaml, json_schema, load_config
from servicekit.secret import SecretError, SecretRef


class Listen(ConfigModel):
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)


class Settings(ConfigModel):
    """A service's settings."""

    version: Literal[1] = 1
    listen: Listen = Listen()
    names: tuple[str, ...] = ()
    backends: tuple[Listen, ...] = ()
    key: SecretRef | None = None
    url: str = "http://localhost"
    resolved: SecretStr = SecretStr("hunter2")
    ratio: float = 0.5


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    """Reads a text as `svc.yaml`."""
    path = tmp_path / "svc.yaml"
    path.write_text(text)
    return load_config(Settings, path, environment or {}, "SVC")


def test_no_file_means_defaults() -> None:
    """A service starts without one."""
    assert load_config(Settings, None, {}, "SVC") == Settings()


def test_an_empty_file_means_defaults(tmp_path: Path) -> None:
    """Comments are no settings."""
    assert load(tmp_path, "# nothing yet\n") == Settings()


def test_an_unknown_key_is_told_with_its_line(tmp_path: Path) -> None:
    """A misspelt setting never goes unnoticed."""
    with pytest.raises(ConfigError, match=r"svc\.yaml:3: listen\.prot: unknown key"):
        load(tmp_path, "version: 1\nlisten:\n  prot: 1\n")


def test_a_wrong_value_is_told_with_its_line(tmp_path: Path) -> None:
    """Inside lists too."""
    with pytest.raises(ConfigError, match=r"svc\.yaml:4: backends\.1\.port: Input should be less"):
        load(tmp_path, "backends:\n  - port: 1\n  -\n    port: 70000\n")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody wants them one by one."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "version: 2\nratio: much\n")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: 1\nb: [1\n", r":3: "), ("ratio: 1\nratio: 2\n", r":2: "), ("- 1\n", ":1: must be a mapping")],
)
def test_text_that_is_no_mapping_is_refused_with_its_line(tmp_path: Path, text: str, place: str) -> None:
    """A repeated key is a mistake too."""
    with pytest.raises(ConfigError, match=place):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the reason."""
    with pytest.raises(ConfigError, match=r"absent\.yaml: can't be read"):
        load_config(Settings, tmp_path / "absent.yaml", {}, "SVC")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Levels are joined by two underscores; lists and mappings are written as YAML."""
    settings = load(
        tmp_path,
        "listen: {port: 1}\nbackends: [{port: 2}]\n",
        {
            "SVC__LISTEN__PORT": "50052",
            "SVC__NAMES": "[a, b]",
            "SVC__BACKENDS__0__HOST": "::1",
            "SVC__KEY__ENV": "API_KEY",
            "OTHER__LISTEN__PORT": "7",
        },
    )
    assert settings.listen.port == 50052
    assert settings.names == ("a", "b")
    assert settings.backends == (Listen(host="::1", port=2),)
    assert settings.key == SecretRef(env="API_KEY")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SVC__LISTEN__PORT", "many"), ("SVC__NO__SUCH", "1"), ("SVC__NAMES", "[a"), ("SVC__BACKENDS__3__PORT", "1")],
)
def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path, variable: str, value: str) -> None:
    """Not a line of a file where nothing is wrong."""
    with pytest.raises(ConfigError, match=f"^{variable}: "):
        load(tmp_path, "backends: []\n", {variable: value})


def test_a_secret_written_into_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """Error messages end up in logs."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "key: sk-very-secret\n")
    assert "svc.yaml:1: key: write {env: NAME} or {file: PATH}" in str(caught.value)
    assert "very-secret" not in str(caught.value)


def test_secrets_are_read_where_the_reference_points(tmp_path: Path) -> None:
    """And are masked when printed."""
    (tmp_path / "key").write_text("from-file\n")
    assert SecretRef(env="K").read({"K": "from-env"}).get_secret_value() == "from-env"
    secret = SecretRef(file=tmp_path / "key").read({})
    assert secret.get_secret_value() == "from-file"
    assert "from-file" not in repr(secret)


@pytest.mark.parametrize("environment", [{}, {"K": ""}])
def test_a_secret_that_is_not_there_is_named(environment: dict[str, str]) -> None:
    """The variable, not its value."""
    with pytest.raises(SecretError, match="environment variable K is"):
        SecretRef(env="K").read(environment)


def test_the_effective_configuration_hides_secrets_and_can_be_read_back(tmp_path: Path) -> None:
    """What `check` prints is what the service runs with."""
    settings = load(tmp_path, "url: https://me:pw@host/x\nkey: {env: K}\nnames: [a]\n")
    dumped = effective(settings)
    assert dumped["url"] == "https://**********@host/x"
    assert dumped["resolved"] == "**********"
    assert dumped["key"] == {"env": "K"}
    again = load(tmp_path, effective_yaml(settings))
    assert (again.names, again.listen, again.key) == (settings.names, settings.listen, settings.key)


def test_the_schema_is_published_with_every_field() -> None:
    """Editors complete and check by it."""
    schema = json_schema(Settings)
    assert schema["additionalProperties"] is False
    assert set(Settings.model_fields) == set(schema["properties"])
