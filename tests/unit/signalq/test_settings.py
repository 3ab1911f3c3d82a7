"""Every setting: default, bounds, where it comes from, and what is said when it is wrong (contract 4)."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from signalq.errors import SettingsError
from signalq.settings.sections import NAMED_SECTIONS, Settings
from signalq.settings.sources import known_keys, load_settings

Load = Callable[..., Settings]

DEFAULTS: dict[str, Any] = {
    "broker.url": "amqp://guest:guest@127.0.0.1:5672/",
    "broker.allow_plain": False,
    "broker.prefix": "signalq",
    "broker.heartbeat_s": 10,
    "broker.topology": "declare",
    "webhook.url": "https://api.crypto-arsenal.io/trading-signal/webhook",
    "webhook.environment": None,
    "webhook.allow_plain_http": False,
    "webhook.connect_timeout_s": 3,
    "webhook.timeout_s": 10,
    "webhook.proxy": None,
    "webhook.send_traceparent": False,
    "webhook.success_body": "ok",
    "webhook.cancel_all_spelling": None,
    "delivery.attempts_max": 8,
    "delivery.crashes_max": 3,
    "delivery.backoff_base_s": 0.5,
    "delivery.backoff_max_s": 30,
    "delivery.retry_after_max_s": 300,
    "delivery.open_max_age_s": 60,
    "delivery.exit_max_age_s": 3600,
    "delivery.repeat_window_s": 60,
    "delivery.delay_max_s": 604_800,
    "delivery.undated": "accept",
    "delivery.concurrency": 64,
    "delivery.shared_window": 1000,
    "delivery.connectors": "any",
    "delivery.drain_timeout_s": 20,
    "ledger.allow_plain": False,
    "ledger.retention_days": 7,
    "ledger.keep_orders": True,
    "ops.host": "127.0.0.1",
    "ops.port": 8080,
    "ops.token": None,
    "ops.view_token": None,
    "ops.console": True,
    "console.host": "127.0.0.1",
    "console.port": 8082,
    "console.url": None,
    "console.name": None,
    "console.hosts": (),
    "console.proxies": (),
    "console.user_header": None,
    "console.operators": (),
    "console.read_only": False,
    "console.broker_url": None,
    "console.trace_url": None,
    "gateway.host": "127.0.0.1",
    "gateway.port": 8081,
    "gateway.path_secret": None,
    "gateway.sources": (),
    "gateway.proxies": (),
    "gateway.connectors": "named",
    "gateway.rate_per_s": None,
    "gateway.time_field": None,
    "notify.urls": None,
    "notify.every_s": 60,
    "traces.delayed": "link",
    "traces.keep_failures": False,
    "log.format": None,
    "log.level": "info",
}


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("SIGNALQ_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load this text as the file, with these variables in the environment."""

    def loading(text: str = "", **environment: str) -> Settings:
        path = tmp_path / "signalq.toml"
        path.write_text(text, "utf-8")
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        return load_settings(path)

    return loading


def plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


# --- defaults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", DEFAULTS)
def test_without_a_file_each_setting_has_its_default(key: str) -> None:
    section, _, name = key.partition(".")
    assert plain(getattr(getattr(load_settings(), section), name)) == DEFAULTS[key]


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({}, "{home}/.local/state"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg"),
        ({"XDG_STATE_HOME": ""}, "{home}/.local/state"),
        ({"STATE_DIRECTORY": "/var/lib/one"}, "/var/lib/one"),
        ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        ({"STATE_DIRECTORY": "/var/lib/one", "XDG_STATE_HOME": "/xdg"}, "/var/lib/one"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/xdg"}, "/xdg"),
        ({"STATE_DIRECTORY": "relative"}, "{here}/relative"),
    ],
)
def test_without_a_setting_the_ledger_is_a_file_below_the_state_folder_by_its_absolute_path(
    environment: dict[str, str], state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = state.format(home=tmp_path, here=tmp_path)
    assert plain(load_settings().ledger.url) == f"sqlite+aiosqlite:///{folder}/signalq/signalq.db"
    assert not any(tmp_path.iterdir()), "nothing is created by reading settings"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:////var/lib/signalq/signalq.db",
        "sqlite+aiosqlite:////a b/é.db",
        "sqlite:////var/lib/signalq/signalq.db",
        "postgresql+asyncpg://host/db?sslmode=require",
        "postgresql+asyncpg://user:pass@127.0.0.1:5432/db",
        "postgresql://user:pass@h1:5432,h2:5432/db?ssl=verify-full&target_session_attrs=read-write",
        "postgresql+asyncpg:///db?host=/run/postgresql",
    ],
)
def test_a_ledger_is_a_file_by_its_absolute_path_or_postgresql(url: str, load: Load) -> None:
    assert plain(load(f'[ledger]\nurl = "{url}"\n').ledger.url) == url


def test_a_connector_that_no_setting_names_does_as_everywhere() -> None:
    connector = load_settings().connector("unheard of")
    assert connector.token is None
    assert connector.resend_when_unknown == "never"
    assert (connector.not_taken_statuses, connector.extra_fields) == (frozenset(), ())
    assert not connector.spot_sell_is_exit
    assert connector.url is connector.success_body is connector.open_max_age_s is connector.exit_max_age_s is None


# --- where they come from --------------------------------------------------------------------------------------------


def test_the_environment_is_on_top_of_the_file(load: Load) -> None:
    text = '[broker]\nprefix = "from-file"\nheartbeat_s = 20\n[connectors.main]\ntoken = "a"\nsuccess_body = "yes"\n'
    settings = load(text, SIGNALQ_BROKER__PREFIX="from-env", SIGNALQ_CONNECTORS__MAIN__TOKEN="b")
    assert (settings.broker.prefix, settings.broker.heartbeat_s) == ("from-env", 20)
    assert (plain(settings.connector("main").token), settings.connector("main").success_body) == ("b", "yes")


def test_signalq_config_names_the_file_and_a_path_that_was_given_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f'[broker]\nprefix = "{name}"\n', "utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(tmp_path / "one"))
    assert load_settings().broker.prefix == "one"
    assert load_settings(tmp_path / "two").broker.prefix == "two"


def test_a_list_in_the_environment_is_json(load: Load) -> None:
    settings = load(SIGNALQ_CONNECTORS__MAIN__EXTRA_FIELDS='["notional"]')
    assert settings.connector("main").extra_fields == ("notional",)
    with pytest.raises(SettingsError, match="JSON"):
        load(SIGNALQ_CONNECTORS__MAIN__EXTRA_FIELDS="notional,position")


def test_a_missing_file_and_one_that_is_no_toml_are_named(tmp_path: Path, load: Load) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml can't be read"):
        load_settings(tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=r"signalq\.toml is not TOML.*line 1"):
        load("[broker\n")


def test_no_dotenv_file_is_read_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("SIGNALQ_BROKER__PREFIX=from-dotenv\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_settings().broker.prefix == "signalq"


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRET_URLS = {
    "broker": "amqps://user:{}@host/",
    "ledger": "postgresql+asyncpg://user:{}@127.0.0.1/db",
    "webhook": "http://user:{}@proxy:3128",
    "console": "amqps://operator:{}@host/",
}
SECRETS = ["broker.url", "ledger.url", "webhook.proxy", "ops.token", "console.broker_url", "connectors.main.token"]


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_may_lie_in_a_file_or_in_another_variable(key: str, load: Load, tmp_path: Path) -> None:
    section, _, name = key.rpartition(".")
    value = SECRET_URLS[section].format("in-a-file") if section in SECRET_URLS else "in-a-file"
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{value}\n", "utf-8")

    def found(settings: Settings) -> object:
        holder = settings.connector("main") if section.startswith("connectors") else getattr(settings, section)
        return plain(getattr(holder, name))

    assert found(load(f'[{section}]\n{name}_file = "{secret_file}"\n')) == value
    assert found(load(f'[{section}]\n{name}_env = "ELSEWHERE"\n', ELSEWHERE=value)) == value


@pytest.mark.parametrize("in_environment", ["", "_file", "_env"], ids=["value", "file", "variable"])
@pytest.mark.parametrize("in_file", ["", "_file", "_env"], ids=["value", "file", "variable"])
@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_in_the_environment_wins_over_the_files_in_whichever_forms_they_are(
    key: str, in_file: str, in_environment: str, load: Load, tmp_path: Path
) -> None:
    section, _, name = key.rpartition(".")

    def given(form: str, word: str) -> tuple[str, dict[str, str], str]:
        """What to set, what else has to be in the environment for it, and the secret it gives."""
        value = SECRET_URLS[section].format(word) if section in SECRET_URLS else word
        if form == "_file":
            (tmp_path / word).write_text(value, "utf-8")
            return str(tmp_path / word), {}, value
        return (word.upper(), {word.upper(): value}, value) if form == "_env" else (value, {}, value)

    lower, lower_needs, _ = given(in_file, "lower")
    upper, upper_needs, expected = given(in_environment, "upper")
    variable = f"SIGNALQ_{key}{in_environment}".upper().replace(".", "__")
    settings = load(f'[{section}]\n{name}{in_file} = "{lower}"\n', **lower_needs, **upper_needs, **{variable: upper})
    holder = settings.connector("main") if section.startswith("connectors") else getattr(settings, section)
    assert plain(getattr(holder, name)) == expected


def test_the_environment_may_not_give_one_secret_in_two_forms(load: Load) -> None:
    with pytest.raises(SettingsError, match="token and token_env are both set"):
        load(SIGNALQ_OPS__TOKEN="a", SIGNALQ_OPS__TOKEN_ENV="B", B="b")


def test_a_twin_in_the_environment_works_too(load: Load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-mount", "utf-8")
    settings = load(SIGNALQ_CONNECTORS__MAIN__TOKEN_FILE=str(tmp_path / "token"))
    assert plain(settings.connector("main").token) == "from-a-mount"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[connectors.main]\ntoken = "a"\ntoken_env = "B"\n', "token and token_env are both set"),
        ('[connectors.main]\ntoken_file = "/nowhere/secret"\n', "/nowhere/secret, which can't be read"),
        ('[connectors.main]\ntoken_env = "NOT_SET"\n', "NOT_SET, which is not set"),
    ],
)
def test_a_twin_that_leads_nowhere_is_named(text: str, said: str, load: Load) -> None:
    with pytest.raises(SettingsError, match=said):
        load(text)


def test_where_secrets_are_not_needed_none_is_looked_for(tmp_path: Path) -> None:
    """As for `signalq topology manifests`, on a machine that has none of them."""
    file = tmp_path / "signalq.toml"
    places = ["broker]\nurl", "webhook]\nproxy", "gateway]\npath_secret", "ops]\ntoken", "connectors.main]\ntoken"]
    file.write_text("".join(f'[{place}_env = "NOT_SET"\n' for place in places), "utf-8")
    settings = load_settings(file, with_secrets=False)
    assert (settings.webhook.proxy, settings.gateway.path_secret) == (None, None)
    assert settings.connector("main").token is not None


def test_an_empty_secret_file_is_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n", "utf-8")
    with pytest.raises(SettingsError, match="which is empty"):
        load(f'[ops]\ntoken_file = "{tmp_path / "empty"}"\n')


def test_no_secret_is_in_what_the_settings_show_of_themselves(load: Load) -> None:
    settings = load(
        '[broker]\nurl = "amqps://user:pa%2Fss@host/"\n[connectors.main]\ntoken = "tok"\n'
        '[ops]\ntoken = "ops-token"\nview_token = "view-token"\n'
        '[ledger]\nurl = "postgresql+asyncpg://user:pg%2Fpass@localhost/db"\n'
        '[webhook]\nurl = "https://host/path?key=in-the-query&v=1"\nproxy = "http://desk:pr%40xy@proxy:3128"\n'
        '[console]\nbroker_url = "amqps://operator:c0ns0le@host/"\n'
    )
    shown = repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()
    for secret in ("pa%2Fss", "pg%2Fpass", "pr%40xy", "ops-token", "view-token", "c0ns0le", "'tok'", '"tok"'):
        assert secret not in shown
    known = {"pa%2Fss", "pa/ss", "pg%2Fpass", "pg/pass", "ops-token", "tok", "in-the-query", "pr%40xy", "pr@xy"}
    assert set(settings.secret_values()) == known | {"view-token", "c0ns0le"}


def test_the_well_known_guest_is_no_secret() -> None:
    assert load_settings().secret_values() == []


def test_no_error_quotes_a_secret(load: Load) -> None:
    for text in (
        '[broker]\nurl = "http://user:s3cret@host/"\n',
        '[broker]\nurl = "amqp://user:s3cret@host:s3cret/"\n',
        '[broker]\nurl = "amqp://user:s3cret@[::1/"\n',
        '[ledger]\nurl = "postgresql://user:s3cret@host/db"\n',
        '[ledger]\nurl = "postgresql+asyncpg://user:s3cret@host:s3cret/db"\n',
        '[ledger]\nurl = "postgresql+asyncpg://user:s3cret@[::1/db"\n',
        '[ledger]\nurl = "s3cret.db"\n',
        '[webhook]\nurl = "https://user:s3cret@host/"\n',
        '[webhook]\nproxy = "https://user:s3cret@host/"\n',
        '[webhook]\nproxy = "http://user:s3cret@host:s3cret/"\n',
        '[webhook]\nproxy = "http://user:s3cret@host/s3cret"\n',
        '[console]\nbroker_url = "amqp://user:s3cret@host/"\n',
        '[console]\nbroker_url = "amqps://user:s3cret@host:s3cret/"\n',
        '[connectors.main]\ntoken = ["s3cret"]\n',
        '[connectors.main]\ntokn = "s3cret"\n',
    ):
        with pytest.raises(SettingsError) as error:
            load(text)
        assert "s3cret" not in str(error.value)


def test_the_environments_secrets_are_not_quoted_either(load: Load) -> None:
    with pytest.raises(SettingsError) as error:
        load(SIGNALQ_CONNECTORS__MAIN__TOKN="s3cret", SIGNALQ_BROKER__URL="s3cret")
    assert "s3cret" not in str(error.value)


# --- unknown keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[delivery]\nattempt_max = 3\n",
            "delivery.attempt_max is not a setting, the nearest is delivery.attempts_max",
        ),
        ('[brokers]\nurl = "amqp://h/"\n', "brokers is not a setting, the nearest is broker"),
        ('prefix = "x"\n', "prefix is not a setting, the nearest is broker.prefix"),
        (
            '[connectors.main]\ntokn = "x"\n',
            "connectors.main.tokn is not a setting, the nearest is connectors.main.token",
        ),
        ('[webhook]\nURL = "https://h/"\n', "webhook.URL is not a setting, the nearest is webhook.url"),
        ('[webhook]\nurl_file = "/x"\n', "webhook.url_file is not a setting"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_known_one(text: str, said: str, load: Load) -> None:
    with pytest.raises(SettingsError) as error:
        load(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("SIGNALQ_BROKER__ULR", "broker.ulr is not a setting, the nearest is broker.url"),
        ("SIGNALQ_BROKER_URL", "SIGNALQ_BROKER_URL is not a setting, the nearest is SIGNALQ_BROKER__URL"),
        ("SIGNALQ_BROKR__URL", "SIGNALQ_BROKR__URL is not a setting, the nearest is SIGNALQ_BROKER__URL"),
        ("SIGNALQ_PREFIX", "SIGNALQ_PREFIX is not a setting, the nearest is SIGNALQ_BROKER__PREFIX"),
        ("SIGNALQ_BROKER", "SIGNALQ_BROKER is not a setting"),
        ("SIGNALQ_", "SIGNALQ_ is not a setting"),
        ("SIGNALQ_TESTS", "SIGNALQ_TESTS is not a setting"),
        ("signalq_prefix", "signalq_prefix is not a setting"),
        ("SIGNALQ_CONNECTORS__MAIN__TOKN", "connectors.main.tokn is not a setting"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(variable: str, said: str, load: Load) -> None:
    with pytest.raises(SettingsError) as error:
        load(**{variable: "1"})
    assert said in str(error.value)
    if variable in ("SIGNALQ_", "SIGNALQ_TESTS"):
        assert str(error.value) == said, "no name is near"


@pytest.mark.parametrize(
    "variable",
    [
        "SIGNALQ_SERVICE_HOST",
        "SIGNALQ_SERVICE_PORT",
        "SIGNALQ_SERVICE_PORT_OPS",
        "SIGNALQ_PORT",
        "SIGNALQ_PORT_8080_TCP",
        "SIGNALQ_PORT_8080_TCP_ADDR",
        "SIGNALQ_PORT_8080_TCP_PORT",
        "SIGNALQ_PORT_8080_TCP_PROTO",
        "SIGNALQ_GATEWAY_SERVICE_HOST",
        "SIGNALQ_GATEWAY_PORT_443_TCP_ADDR",
        "SIGNALQ_MY_2ND_PORT_53_UDP",
    ],
)
def test_the_variables_that_kubernetes_sets_for_services_are_no_settings_of_ours(variable: str, load: Load) -> None:
    assert load(**{variable: "tcp://10.0.0.1:8080"}).ops.port == 8080


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIGNALQ_SERVICE_HOST", "10.0.0.1"),
        ("SIGNALQ_SERVICE_HOST", "fd00::1"),
        ("SIGNALQ_GATEWAY_SERVICE_PORT", "8081"),
        ("SIGNALQ_GATEWAY_SERVICE_PORT_HTTP", "8081"),
        ("SIGNALQ_OPS_PORT", "tcp://10.0.0.1:8080"),
        ("SIGNALQ_OPS_PORT", "tcp://[fd00::1]:8080"),
        ("SIGNALQ_OPS_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("SIGNALQ_OPS_PORT_8080_TCP_PROTO", "tcp"),
        ("SIGNALQ_OPS_PORT_8080_TCP_PORT", "8080"),
        ("SIGNALQ_OPS_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_of_kubernetes_with_its_own_values_are_no_settings_either(
    variable: str, value: str, load: Load
) -> None:
    assert load(**{variable: value}).ops.port == 8080


@pytest.mark.parametrize(
    ("variable", "value", "nearest"),
    [
        ("SIGNALQ_OPS_PORT", "9090", "SIGNALQ_OPS__PORT"),
        ("SIGNALQ_GATEWAY_PORT", "9091", "SIGNALQ_GATEWAY__PORT"),
        ("SIGNALQ_OPS_PORT", "", "SIGNALQ_OPS__PORT"),
        ("SIGNALQ_BROKER_PORT", "5672", None),
        ("SIGNALQ_WEBHOOK_SERVICE_HOST", "api.example.com", None),
        ("SIGNALQ_OPS_PORT_8080_TCP_PORT", "x", None),
        ("SIGNALQ_OPS_PORT_8080_TCP_COLOR", "8080", None),
        ("signalq_gateway_port", "8081", "SIGNALQ_GATEWAY__PORT"),
        ("SIGNALQ_CONFI", "/etc/signalq.toml", "SIGNALQ_CONFIG"),
    ],
)
def test_a_mistake_that_looks_like_one_of_them_is_refused(
    variable: str, value: str, nearest: str | None, load: Load
) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is not a setting") as refused:
        load(**{variable: value})
    assert nearest is None or f"the nearest is {nearest}" in str(refused.value)


def test_a_key_that_is_near_to_none_is_refused_without_a_guess(load: Load) -> None:
    with pytest.raises(SettingsError) as refused:
        load(SIGNALQ_ZZZZ__QQQQQQQQQQQQQQ="1")
    assert str(refused.value) == "SIGNALQ_ZZZZ__QQQQQQQQQQQQQQ is not a setting"


# --- plain text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "localhost.", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_broker_on_this_machine_may_be_spoken_to_in_plain_text(host: str, load: Load) -> None:
    assert load(SIGNALQ_BROKER__URL=f"amqp://u:p@{host}:5672/")


@pytest.mark.parametrize(
    "host",
    ["rabbitmq", "10.0.0.1", "127.0.0.1.example.com", "[2001:db8::1]", "localhost.example", "[::ffff:10.0.0.1]"],
)
def test_a_broker_on_another_machine_only_where_that_is_allowed(host: str, load: Load) -> None:
    url = f"amqp://u:s3cr3t@{host}:5672/"
    with pytest.raises(
        SettingsError, match=r"broker.url: is plain amqp:// to another machine.*broker.allow_plain"
    ) as told:
        load(SIGNALQ_BROKER__URL=url)
    assert "s3cr3t" not in str(told.value)
    assert plain(load(SIGNALQ_BROKER__URL=url, SIGNALQ_BROKER__ALLOW_PLAIN="true").broker.url) == url
    assert load(SIGNALQ_BROKER__URL=url.replace("amqp:", "amqps:"))


@pytest.mark.parametrize("value", ["1", "true", "False", "", "00"])
def test_no_certificate_is_left_unchecked(value: str, load: Load) -> None:
    with pytest.raises(SettingsError, match="certificates are always checked"):
        load(SIGNALQ_BROKER__URL=f"amqps://u:p@host/?no_verify_ssl={value}", SIGNALQ_BROKER__ALLOW_PLAIN="true")


def test_a_ledger_on_another_machine_needs_tls_or_the_word_of_the_operator(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"ledger.url: goes to another machine.*sslmode=require"):
        load(SIGNALQ_LEDGER__URL="postgresql://u:p@db/x?sslmode=prefer")
    assert load(SIGNALQ_LEDGER__URL="postgresql://u:p@db/x", SIGNALQ_LEDGER__ALLOW_PLAIN="true").ledger.allow_plain


def test_the_variables_of_other_programs_are_left_alone(load: Load) -> None:
    assert load(SIGNALQUEUE_URL="x", SIGNAL_Q="x", BROKER__URL="x") == Settings()


def test_every_key_that_is_known_is_a_setting_of_the_contract_or_one_of_a_name() -> None:
    keys = {key for key in known_keys() if not key.startswith(("connectors.", "strategies."))}
    twins = {key for key in keys if key.removesuffix("_file").removesuffix("_env") in keys - {key}}
    assert keys - twins - {"ledger.url"} == set(DEFAULTS)
    assert {"ledger.url", "ledger.url_file", "ledger.url_env"} <= keys
    limits = {"actions", "fixed_max", "percent_max", "orders_per_minute_max", "limits"}
    of_strategies = {key.rpartition(".")[2] for key in known_keys() if key.startswith("strategies.")}
    of_connectors = {key.rpartition(".")[2] for key in known_keys() if key.startswith("connectors.")}
    assert of_strategies == {"user", "connectors"} | limits
    assert of_connectors >= {"lane", "ordering", "concurrency", "rate_per_s"} | limits


# --- bounds and relations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("broker.heartbeat_s", ["0", "601", "1.5", '"x"']),
        ("broker.prefix", ['""', '".x"', '"a b"', '"a#"', f'"{"x" * 65}"']),
        ("broker.topology", ['"force"', "true"]),
        ("broker.url", ['""', '"host"', '"amqp://"', '"amqp://h:99999/"', '"amqp://h:x/"', "5"]),
        ("webhook.url", ['""', '"ftp://h/"', '"https://"', '"https://h:99999/"', '"http://example.com/"']),
        ("webhook.url", ['"https://xn--/"', '"https://h\\\\x/"', '"https://ex\\u200bample.com/"']),
        ("webhook.environment", ['""', '"two words"', f'"{"x" * 33}"', "true"]),
        ("webhook.connect_timeout_s", ["0", "-1", "inf", "nan", "86401", '"soon"']),
        ("webhook.timeout_s", ["0", "-1", "inf", "nan"]),
        (
            "webhook.proxy",
            [
                '""',
                '"proxy:3128"',
                '"https://proxy/"',
                '"socks5://proxy:1080"',
                '"http://"',
                '"http://proxy:0"',
                '"http://proxy:99999"',
                '"http://proxy/path"',
                '"http://proxy?x=1"',
                '"http://a%3Ab:c@proxy"',
                "3128",
            ],
        ),
        ("webhook.success_body", [f'"{"x" * 1025}"']),
        ("webhook.cancel_all_spelling", ['"CancelAll"']),
        ("delivery.attempts_max", ["0", "1001", "1.5"]),
        ("delivery.crashes_max", ["0", "101"]),
        ("delivery.backoff_base_s", ["0", "31"]),
        ("delivery.backoff_max_s", ["0", "0.4"]),
        ("delivery.retry_after_max_s", ["0", "nan"]),
        ("delivery.open_max_age_s", ["0", "-5", "inf"]),
        ("delivery.exit_max_age_s", ["0", "86401"]),
        ("delivery.repeat_window_s", ["0"]),
        ("delivery.delay_max_s", ["-1", "1048576", "0.5"]),
        ("delivery.undated", ['"maybe"']),
        ("delivery.concurrency", ["0", "10001"]),
        ("delivery.shared_window", ["0", "60001"]),
        ("delivery.drain_timeout_s", ["0", "13", "5"]),
        ("ledger.retention_days", ["0", "-1", "3651", "nan", "inf"]),
        (
            "ledger.url",
            [
                '""',
                "5",
                '"signalq.db"',
                '"/var/lib/signalq.db"',
                '"sqlite:///signalq.db"',
                '"mysql://host/db"',
                '"sqlite+aiosqlite:///signalq.db"',
                '"sqlite+aiosqlite:///./signalq.db"',
                '"sqlite+aiosqlite:///../signalq.db"',
                '"sqlite+aiosqlite://host/signalq.db"',
                '"sqlite+aiosqlite:///:memory:"',
                '"sqlite+aiosqlite://"',
                '"sqlite+aiosqlite:////var/lib/"',
                '"postgresql://host/db"',
                '"postgresql+psycopg://host/db"',
                '"postgresql+asyncpg:///db"',
                '"postgresql+asyncpg://host:99999/db"',
                '"postgresql+asyncpg://host:x/db"',
                '"mysql://host/db"',
            ],
        ),
        ("ops.port", ["-1", "65536"]),
        ("ops.console", ['"maybe"', "5"]),
        ("ops.view_token", ['"without-a-token-beside-it"']),
        ("console.port", ["-1", "65536"]),
        ("console.host", ['"0.0.0.0"']),
        ("console.name", ['""', f'"{"x" * 65}"']),
        (
            "console.url",
            [
                *('""', '"desk.example"', '"ftp://desk.example/"', '"https://"', '"https://u:p@desk.example/"'),
                *('"https://desk.example/?a=b"', '"https://desk.example/#a"', '"https://desk.example:99999/"'),
                *('"https://desk.example//evil.example"', '"https://desk.example/a b"', '"https://desk.example/<a>"'),
            ],
        ),
        ("console.hosts", ['"desk.example"', '["desk example"]', '["http://desk.example"]', '["a:b"]', '[""]', "[1]"]),
        ("console.proxies", ['["desk.example"]', '["10.0.0.1/8"]']),
        ("console.user_header", ['""', '"X_Forwarded_User"', '"X User"', '"X-Forwarded-Email"', f'"{"x" * 65}"']),
        ("console.operators", ['["alice@desk.example"]', '"alice"', '[""]']),
        ("console.read_only", ['"maybe"']),
        ("console.broker_url", ['""', '"host"', '"amqp://rabbitmq/"', '"amqps://h/?no_verify_ssl=1"']),
        ("console.trace_url", ['"https://traces.example/"', '"javascript:{trace_id}"', '"/{trace_id}"']),
        ("gateway.port", ["-1", "65536"]),
        ("gateway.path_secret", ['"only-15-letters"', '"with/a/slash/in/it"', '"with a space in it"']),
        ("gateway.sources", ['["tradingview.com"]', '["10.0.0.1/8"]', '"10.0.0.1"']),
        ("gateway.connectors", ['"some"', "true"]),
        ("gateway.proxies", ['["300.0.0.1"]']),
        ("gateway.rate_per_s", ["0", "-1", "inf"]),
        ("gateway.time_field", ['""', '"a b"', '"log"', '"connectorToken"', f'"{"x" * 33}"', "5"]),
        ("log.level", ['"trace"']),
        ("webhook.send_traceparent", ['"perhaps"']),
        ("traces.delayed", ['"child"', "true"]),
        ("traces.keep_failures", ['"perhaps"']),
        ("log.format", ['"xml"']),
        ("connectors.main.lane", ['"fast"']),
        ("connectors.main.url", ['"http://example.com/"', '"ftp://h/"', '"https://h:0x50/"']),
        ("connectors.main.resend_when_unknown", ['"sometimes"']),
        ("connectors.main.not_taken_statuses", ["[200]", "[299]", "[600]", '["x"]', "500"]),
        ("connectors.main.open_max_age_s", ["0", "-1", "inf"]),
        ("connectors.main.exit_max_age_s", ["0"]),
        ("connectors.main.ordering", ['"loose"']),
        ("connectors.main.rate_per_s", ["0", "-1", "10001", "inf", "nan", '"fast"']),
        *((f"{scope}.main.actions", ['["openlong"]', '["cancellAll"]', '"buy"']) for scope in NAMED_SECTIONS),
        *((f"{scope}.main.fixed_max", ["0", "-1", "inf", "nan", '"x"']) for scope in NAMED_SECTIONS),
        *((f"{scope}.main.percent_max", ["0", "100.1", "nan"]) for scope in NAMED_SECTIONS),
        *((f"{scope}.main.orders_per_minute_max", ["0", "1000001", "1.5"]) for scope in NAMED_SECTIONS),
        *((f"{scope}.main.limits", ['"off"', "true"]) for scope in NAMED_SECTIONS),
        ("strategies.main.user", ['""', "5", f'"{"x" * 256}"']),
        ("strategies.main.connectors", ['"main"', "[1]"]),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(key: str, bad: list[str], load: Load) -> None:
    section, _, name = key.rpartition(".")
    for value in bad:
        with pytest.raises(SettingsError) as error:
            load(f"[{section}]\n{name} = {value}\n")
        assert section.split(".")[0] in str(error.value), value
        assert name in str(error.value), value
        assert "\n" not in str(error.value), "one sentence"


def test_every_wrong_key_is_named_at_once(load: Load) -> None:
    with pytest.raises(SettingsError) as error:
        load("[delivery]\nattempts_max = 0\nconcurrency = 0\n[log]\nlevel = 'loud'\n")
    assert all(key in str(error.value) for key in ("delivery.attempts_max", "delivery.concurrency", "log.level"))


def test_a_field_that_the_gateway_takes_out_is_not_let_through(load: Load) -> None:
    text = '[gateway]\ntime_field = "time"\n[connectors.main]\nextra_fields = ["notional", "{}"]\n'
    assert load(text.format("times")).gateway.time_field == "time"
    with pytest.raises(SettingsError, match=r"gateway\.time_field is in connectors\.main\.extra_fields, too"):
        load(text.format("time"))


def test_a_console_that_others_reach_has_a_token(load: Load) -> None:
    token = '[ops]\ntoken = "a-token"\n'
    assert load(f'{token}[console]\nhost = "0.0.0.0"\n').console.port == 8082
    with pytest.raises(SettingsError, match=r"ops\.token is needed for console\.host to be anything but loopback"):
        load('[console]\nhost = "0.0.0.0"\n')
    behind = '[console]\nproxies = ["10.0.0.0/8"]\nuser_header = "X-Forwarded-Email"\noperators = ["alice@desk"]\n'
    assert load(token + behind).console.operators == ("alice@desk",)
    with pytest.raises(SettingsError, match=r"ops\.token is needed beside console\.user_header"):
        load(behind)


def test_a_token_to_view_is_another_than_the_one_to_act(load: Load) -> None:
    assert load('[ops]\ntoken = "a"\nview_token = "b"\n').ops.view_token is not None
    with pytest.raises(SettingsError, match="another one"):
        load('[ops]\ntoken = "a"\nview_token = "a"\n')


def test_the_names_of_a_console_are_as_browsers_send_them(load: Load) -> None:
    hosts = load('[ops]\ntoken = "a"\n[console]\nhosts = ["Desk.Example:8443", "[::1]:80", "10.0.0.1"]\n').console.hosts
    assert hosts == ("desk.example:8443", "[::1]:80", "10.0.0.1")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://desk.example", ""),
        ("https://desk.example/", ""),
        ("http://desk.example:8443/signalq/", "/signalq"),
        ("https://[::1]/a/b", "/a/b"),
    ],
)
def test_the_path_of_the_consoles_url_stands_before_its_links(url: str, base: str, load: Load) -> None:
    assert load(f'[console]\nurl = "{url}"\n').console.base == base


def test_a_trace_may_have_any_address_on_the_web(load: Load) -> None:
    url = "https://traces.example/x?y=1#/trace/{trace_id}"
    assert load(f'[console]\ntrace_url = "{url}"\n').console.trace_url == url


def test_the_console_may_speak_to_a_broker_elsewhere_in_plain_text_where_all_may(load: Load) -> None:
    text = '[console]\nbroker_url = "amqp://operator:s3cr3t@rabbitmq/"\n'
    assert load(f"[broker]\nallow_plain = true\n{text}").console.broker_url is not None
    with pytest.raises(SettingsError, match=r"console\.broker_url is plain amqp:// to another machine") as told:
        load(text)
    assert "s3cr3t" not in str(told.value)


def test_the_drain_outlasts_the_slowest_post(load: Load) -> None:
    assert load("[delivery]\ndrain_timeout_s = 13.1\n").delivery.drain_timeout_s == 13.1
    with pytest.raises(SettingsError, match=r"delivery\.drain_timeout_s must be above.*\(33\)"):
        load("[webhook]\ntimeout_s = 30\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_plain_http_goes_to_this_machine(host: str, load: Load) -> None:
    url = f"http://{host}:9000/hook"
    settings = load(f'[webhook]\nurl = "{url}"\n[connectors.main]\nurl = "{url}"\n')
    assert settings.webhook.url == settings.connector("main").url == url


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "127.0.0.1.example.com", "localhost.example.com"])
def test_plain_http_goes_to_another_machine_only_where_that_is_allowed(host: str, load: Load) -> None:
    url = f"http://{host}/hook"
    for section in ("webhook", "connectors.main"):
        text = f'[{section}]\nurl = "{url}"\n'
        with pytest.raises(SettingsError, match=r"webhook\.allow_plain_http"):
            load(text)
        load(text, SIGNALQ_WEBHOOK__ALLOW_PLAIN_HTTP="true")
        os.environ.pop("SIGNALQ_WEBHOOK__ALLOW_PLAIN_HTTP")


def test_the_ops_port_is_opened_to_others_only_with_a_token(load: Load) -> None:
    with pytest.raises(SettingsError, match="token is needed"):
        load('[ops]\nhost = "0.0.0.0"\n')
    assert load('[ops]\nhost = "0.0.0.0"\ntoken = "t"\n').ops.host == "0.0.0.0"  # noqa: S104 - what is tested


# --- strategies and limits -------------------------------------------------------------------------------------------


def test_strategies_and_limits_are_read(load: Load) -> None:
    settings = load(
        """
        [connectors.main]
        rate_per_s = 2.5
        percent_max = 12.5
        orders_per_minute_max = 30
        limits = "report"
        [strategies.momentum]
        user = "momentum-user"
        connectors = ["main"]
        actions = ["openLong", "cancelAll"]
        fixed_max = "0.100000000000000000001"
        """
    )
    main, momentum = settings.connector("main"), settings.strategies["momentum"]
    assert (main.rate_per_s, main.percent_max, main.orders_per_minute_max, main.limits) == (
        2.5,
        Decimal("12.5"),
        30,
        "report",
    )
    assert (momentum.user, momentum.connectors) == ("momentum-user", ("main",))
    assert momentum.fixed_max == Decimal("0.100000000000000000001"), "digit by digit"
    assert momentum.limits == "enforce"
    assert settings.strategy_by_user == {"momentum-user": "momentum"}


def test_two_strategies_with_one_user_are_refused_with_the_names_of_both(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"strategies\.a and strategies\.b have the same user"):
        load('[strategies.a]\nuser = "u"\n[strategies.b]\nuser = "u"\n')
    load("[strategies.a]\n[strategies.b]\n")


@pytest.mark.parametrize("name", ["", "-", "x" * 256, "a\\nb"])
def test_a_strategy_has_a_name_that_a_message_can_give(name: str, load: Load) -> None:
    with pytest.raises(SettingsError, match=r"^strategies\."):
        load(f'[strategies."{name}"]\n')


def test_a_size_limit_and_extra_fields_do_not_go_together(load: Load) -> None:
    extra = '[connectors.main]\nextra_fields = ["notional"]\n'
    with pytest.raises(SettingsError, match=r"connectors\.main.*extra_fields"):
        load(extra + "percent_max = 5\n")
    with pytest.raises(SettingsError, match=r"strategies\.a .*connector main has extra_fields"):
        load(extra + '[strategies.a]\nconnectors = ["other", "main"]\nfixed_max = 5\n')
    load(extra + '[strategies.a]\nconnectors = ["main"]\norders_per_minute_max = 5\n')
    load(extra + '[strategies.a]\nconnectors = ["other"]\nfixed_max = 5\n')


def test_a_shared_or_strict_lane_takes_no_settings_of_one_without_order(load: Load) -> None:
    with pytest.raises(SettingsError, match="needs a lane of its own"):
        load('[connectors.main]\nlane = "shared"\nordering = "none"\n')
    with pytest.raises(SettingsError, match="concurrency is for"):
        load("[connectors.main]\nconcurrency = 5\n")


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.delivery.attempts_max = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+asyncpg://host/db?user=u&password=s3cret", "must have the password before the host"),
        ("postgresql+asyncpg://u:p@ss:w0rd@host:x/db", "ledger.url"),
    ],
)
def test_a_ledger_url_whose_password_could_be_shown_is_refused_without_quoting_it(
    monkeypatch: pytest.MonkeyPatch, url: str, told: str
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "w0rd" not in str(caught.value)


TOKEN = "kQ7vX2mN-9pL4wR8s.Zt3hB6yD"


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (f'"{TOKEN}" = 1', {}),
        (f'[connectors.main]\n"{TOKEN}" = 1', {}),
        (f"[connectors.main]\n{TOKEN} = 1", {}),
        (f"[connectors.main]\ntoken = {TOKEN}", {}),
        (f'[connectors.main]\ntoken = "{TOKEN}', {}),
        (f'[connectors.main]\ntoken = "{TOKEN}"\ntoken = "{TOKEN}"', {}),
        (f'[connectors.main]\ntoken_file = "{TOKEN}"', {}),
        (f'[connectors.main]\ntoken_env = "{TOKEN}"', {}),
        (f'[connectors.main]\nurl = "{TOKEN}"', {}),
        (f'[connectors.main]\nactions = ["{TOKEN}"]', {}),
        (f'[log]\nlevel = "{TOKEN}"', {}),
        ("", {f"SIGNALQ_{TOKEN}": "1"}),
        ("", {f"SIGNALQ_CONNECTORS__MAIN__{TOKEN}": "1"}),
        ("", {"SIGNALQ_CONNECTORS__MAIN__TOKNE": TOKEN}),
        ("", {"SIGNALQ_CONNECTORS": f'{{"main": {{"token": "{TOKEN}"'}),
        ("", {"SIGNALQ_OPS__TOKEN_ENV": TOKEN}),
        ("", {"SIGNALQ_BROKER__URL": TOKEN}),
        ("", {"SIGNALQ_WEBHOOK__PROXY": TOKEN}),
        ("", {"SIGNALQ_LEDGER__URL": f"postgresql://u:p@127.0.0.1/d?{TOKEN}=1"}),
    ],
)
def test_no_token_in_the_wrong_place_of_the_settings_is_repeated(
    text: str, environment: dict[str, str], load: Load
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(text, **environment)
    assert TOKEN[:8].casefold() not in str(refused.value).casefold()


def test_no_token_in_the_place_of_a_file_is_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the settings file \(a name of 26 characters, not shown\)"):
        load_settings(Path(TOKEN))
    with pytest.raises(SettingsError, match=str(tmp_path)):
        load_settings(tmp_path / "missing.toml")
