"""Reads metrics with the parsers of Prometheus's Python client: parse FILE [openmetrics].

The OpenMetrics parser is strict: it refuses what the specification forbids. Prints each sample's name and labels, sorted.
"""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

path, *kind = sys.argv[1:]
with open(path, encoding="utf-8", newline="") as file:
    text = file.read()
families = list((openmetrics if kind == ["openmetrics"] else prometheus)(text))
seen = set()
for family in families:
    assert family.name.startswith("swsync_"), family
    assert family.documentation and family.type in ("gauge", "counter"), family
    assert family.samples, f"{family.name} has no sample"
    for sample in family.samples:
        assert (family.type == "counter") == sample.name.endswith("_total"), sample
        assert "rig" in sample.labels, sample
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in seen, f"{key} twice"
        seen.add(key)
print(len(seen), "samples")
