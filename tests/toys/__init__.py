"""Small complete plugins that stand for what the five domains need; used by the tests of core."""
