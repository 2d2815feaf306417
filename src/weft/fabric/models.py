"""Switch models that weft knows: what their vendors' documents say that they hold.

Only what such a document says stands here; where it is silent (VNIs and VRFs, mostly) nothing is limited.
"""

from collections.abc import Mapping

from weft.model.inventory import SwitchModel

_CUMULUS = "Cumulus Linux user guide, Supported Route Table Entries: values validated one at a time, k read as 1,000"
_QFX = "Junos, Configuring the Unified Forwarding Table: QFX5100, K read as 1,000"

KNOWN_MODELS: Mapping[str, SwitchModel] = {
    model.name: model
    for model in (
        SwitchModel(name="spectrum", macs=40_000, host_routes=32_000, prefixes=64_000, source=_CUMULUS),
        SwitchModel(name="spectrum-l2-heavy", macs=88_000, host_routes=48_000, prefixes=8_000, source=_CUMULUS),
        SwitchModel(name="spectrum2", macs=50_000, host_routes=41_000, prefixes=82_000, source=_CUMULUS),
        SwitchModel(name="spectrum2-l2-heavy", macs=115_000, host_routes=74_000, prefixes=16_000, source=_CUMULUS),
        SwitchModel(name="tomahawk", macs=40_000, host_routes=40_000, prefixes=64_000, source=_CUMULUS),
        SwitchModel(name="tomahawk-l2-heavy", macs=72_000, host_routes=72_000, prefixes=8_000, source=_CUMULUS),
        SwitchModel(name="qfx5100", macs=160_000, host_routes=144_000, source=_QFX),
        SwitchModel(name="qfx5100-l2", macs=288_000, host_routes=16_000, source=_QFX),
        SwitchModel(name="qfx5100-l3", macs=96_000, host_routes=208_000, source=_QFX),
    )
}
"""Models that weft knows by their vendors' documents. An inventory adds its own, and may say otherwise of these."""
