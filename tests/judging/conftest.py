"""The runs and the policy that tests of the report use."""

from tests.report.conftest import compared, family, judge  # noqa: F401
