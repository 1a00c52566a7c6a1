"""Whatever the OpenAPI description allows, and what it does not: an answer that it describes, 2xx or 4xx."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
OPERATIONS = [
    ("GET", "/api/about"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("POST", "/api/ecgs"),
    ("POST", "/api/ecgs/batch"),
    ("POST", "/api/ecgs/occlusion"),
    ("GET", "/api/records"),
    ("GET", "/api/records/{row}"),
    ("GET", "/api/records/{row}/signal"),
    ("GET", "/api/records/{row}/occlusion"),
    ("GET", "/api/map"),
    ("GET", "/api/map/colours"),
    ("POST", "/api/groups"),
]


@pytest.fixture(scope="session")
def schema(live_server: str) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{live_server}/openapi.json")


def ask(schema: BaseSchema, method: str, path: str, examples: int) -> None:
    """Ask an operation for what is described and what is not."""
    operation = schema[path][method]
    statuses = set()

    @seed(0)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
           | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))  # fmt: skip
    def run(case: Case) -> None:
        response = case.call(timeout=30)
        case.validate_response(response, checks=CHECKS)
        statuses.add(response.status_code)

    run()
    assert statuses
    assert max(statuses) < 500, statuses


def test_every_operation_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    found = [(method.upper(), path) for path, methods in described["paths"].items() for method in methods]
    assert sorted(found) == sorted(OPERATIONS)
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["description"], path
            if path.startswith("/api") and path != "/api/about":
                assert operation["responses"]["200"]["content"]["application/json"]["example"], path
            refused = [answer for status, answer in operation["responses"].items() if status[0] != "2"]
            assert len(refused) > 4
            for answer in refused:
                assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Refused")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_as_described(schema: BaseSchema, method: str, path: str) -> None:
    ask(schema, method, path, examples=6)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_many_answers_are_as_described(schema: BaseSchema, method: str, path: str) -> None:
    ask(schema, method, path, examples=200)
