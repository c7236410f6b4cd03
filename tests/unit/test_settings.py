"""Settings: flags over the environment over stoa.toml over the default; a name that is no setting is an error that
names the one meant."""

from pathlib import Path
from typing import Any

import pytest

from stoa.settings import Settings, SettingsError, load, variables


def written(tmp_path: Path, toml: str) -> Path:
    path = tmp_path / "stoa.toml"
    path.write_text(toml)
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "port = 1\nruns_max = 1\ndomain = 'file.test'\ncors_origins = ['https://a.test']\n")
    chosen = load({"STOA_PORT": "2", "STOA_RUNS_MAX": "2"}, {"port": 3, "host": None}, config)
    assert (chosen.port, chosen.runs_max, chosen.domain, chosen.host) == (3, 2, "file.test", "127.0.0.1")
    assert chosen.cors_origins == ("https://a.test",)


def test_the_environment_reads_lists_and_tables() -> None:
    chosen = load(
        {
            "STOA_CORS_ORIGINS": "https://a.test, https://b.test",
            "STOA_SOURCE_DIRECTORIES": "/srv/a:/srv/b",
            "STOA_RERANKER_PATH": "/srv/model",
            "STOA_EMBEDDINGS_BASE_URL": "https://e.test/v1",
            "STOA_EMBEDDINGS_MODEL": "e",
            "STOA_DOMAIN": "",
        },
        {},
    )
    assert chosen.cors_origins == ("https://a.test", "https://b.test")
    assert chosen.source_directories == (Path("/srv/a"), Path("/srv/b"))
    assert chosen.reranker is not None
    assert chosen.reranker.path == Path("/srv/model")
    assert chosen.embeddings is not None
    assert chosen.embeddings.model == "e"
    assert chosen.domain == "localhost", "an empty variable is none"


def test_providers_of_the_environment_join_those_of_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "[[providers]]\nname = 'openai'\ntype = 'openai'\nbase_url = 'https://mine.test/v1'\n")
    chosen = load({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, {}, config)
    assert [provider.name for provider in chosen.providers] == ["openai", "anthropic", "ollama"]
    assert chosen.providers[0].base_url == "https://mine.test/v1"


@pytest.mark.parametrize(
    ("environment", "toml", "message"),
    [
        ({"STOA_PROT": "1"}, "", "STOA_PROT is no setting; did you mean STOA_PORT?"),
        ({"STOA_DATABASE_URI": "x"}, "", "STOA_DATABASE_URI is no setting; did you mean STOA_DATABASE_URL?"),
        ({"STOA_QQQQ": "x"}, "", "STOA_QQQQ is no setting; there are STOA_ALLOW_PRIVATE_ADDRESSES"),
        ({}, "databse_url = 'x'", "databse_url is no setting; did you mean database_url?"),
        (
            {},
            "[[providers]]\nname = 'x'\ntype = 'openai'\nbase_ulr = 'y'",
            "providers.0.base_ulr is no setting; did you mean base_url?",
        ),
        ({}, "[embeddings]\nbase_url = 'x'\nmodle = 'y'", "did you mean model?"),
        ({"STOA_RUNS_MAX": "many"}, "", "runs_max (STOA_RUNS_MAX): Input should be a valid integer"),
        ({"STOA_PRICES": "[]"}, "", "STOA_PRICES is no setting; this table stands in stoa.toml"),
        ({}, "port = ", "stoa.toml cannot be read"),
        ({"STOA_RERANKER_PATH": "/x"}, "[reranker]\nbase_url = 'x'\nmodel = 'y'", "reranker"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, environment: dict[str, str], toml: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environment, {}, written(tmp_path, toml))
    assert message in str(caught.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        load({}, {}, tmp_path / "nowhere.toml")


def test_what_others_put_into_the_environment_is_no_setting() -> None:
    """Kubernetes describes a service named `stoa` or `stoa-db` to every container beside it; clients have variables of
    their own."""
    service: dict[str, str] = {
        "STOA_PORT": "tcp://10.0.0.1:8080",
        "STOA_SERVICE_HOST": "10.0.0.1",
        "STOA_SERVICE_PORT": "8080",
        "STOA_SERVICE_PORT_HTTP": "8080",
        "STOA_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "STOA_PORT_8080_TCP_ADDR": "10.0.0.1",
        "STOA_DB_SERVICE_HOST": "10.0.0.2",
        "STOA_DB_PORT": "tcp://10.0.0.2:5432",
    }
    assert load({**service, "STOA_KEY": "k", "STOA_SECRET_TOKEN": "t"}, {}).port == 8080


def test_every_setting_has_its_variable() -> None:
    known: Any = variables()
    assert {f"STOA_{name.upper()}" for name in Settings.model_fields} - set(known) == {
        "STOA_BACKUP",
        "STOA_EMBEDDINGS",
        "STOA_MCP_SERVERS",
        "STOA_MODELS",
        "STOA_OIDC",
        "STOA_PRICES",
        "STOA_PROVIDERS",
        "STOA_RERANKER",
        "STOA_ROUTER",
        "STOA_SMTP",
    }


PEOPLE = {
    "STOA_PUBLIC_URL": "https://stoa.example",
    "STOA_OIDC_ISSUER": "https://id.example/realms/a",
    "STOA_OIDC_CLIENT_ID": "stoa",
    "STOA_OIDC_DOMAINS": "example.com, @Corp.Example",
    "STOA_OIDC_SCOPES": "email,groups",
    "STOA_SMTP_HOST": "mail.example",
    "STOA_SMTP_SENDER": "Stoa <stoa@example.com>",
}


def test_how_people_come_in() -> None:
    loaded = load(PEOPLE, {})
    assert loaded.oidc is not None
    assert loaded.smtp is not None
    assert loaded.oidc.domains == ("example.com", "corp.example")
    assert loaded.oidc.scopes == ("openid", "email", "groups"), "without openid there is no ID token"
    assert (loaded.oidc.newcomers, loaded.oidc.trust_email, loaded.smtp.tls) == ("invited", False, "starttls")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"STOA_PUBLIC_URL": ""}, "oidc needs public_url"),
        ({"STOA_PUBLIC_URL": "", "STOA_OIDC_ISSUER": "", "STOA_OIDC_CLIENT_ID": ""}, "STOA_OIDC_ISSUER"),
        ({"STOA_OIDC_ISSUER": "http://id.example"}, "must begin with https://"),
        ({"STOA_SMTP_TLS": "none", "STOA_SMTP_USERNAME": "u", "STOA_SMTP_PASSWORD": "p"}, "over TLS only"),
        ({"STOA_SMTP_USERNAME": "u"}, "both username and password"),
        ({"STOA_SMTP_SENDER": "Stoa\r\nBcc: x@y.z <a@b.c>"}, "STOA_SMTP_SENDER"),
        ({"STOA_OIDC_NEWCOMERS": "everybody"}, "STOA_OIDC_NEWCOMERS"),
        ({"STOA_OIDC_CLIENTID": "x"}, "did you mean STOA_OIDC_CLIENT_ID"),
    ],
)
def test_how_people_cannot_come_in(changes: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load({**PEOPLE, **changes}, {})


def test_what_the_operator_says_of_models_has_its_source_and_date(tmp_path: Path) -> None:
    toml = (
        '[[prices]]\nmodel = "a/*"\nprompt = 1\ncompletion = 2\nsource = "https://a.test/pricing"\nas_of = 2026-11-01\n'
        '[[models]]\nmodel = "a/*"\ncontext_tokens = 1000\nsource = "https://a.test/models"\nas_of = 2026-11-02\n'
    )
    chosen = load({}, {}, written(tmp_path, toml))
    assert (str(chosen.prices[0].as_of), chosen.models[0].source) == ("2026-11-01", "https://a.test/models")
    with pytest.raises(SettingsError, match="as_of"):
        load({}, {}, written(tmp_path, toml.replace("2026-11-01", '"soon"')))
