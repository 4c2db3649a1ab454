"""Write a pico pipeline and its LoRAs: ``python tests/pico FAMILY FOLDER``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    here = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "diffgraph_pico", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["diffgraph_pico"] = module
    spec.loader.exec_module(module)
    from diffgraph_pico import experts, pipelines

    if len(sys.argv) != 3 or sys.argv[1] not in pipelines.MAKERS:
        raise SystemExit(f"usage: python tests/pico FAMILY FOLDER; families: {', '.join(pipelines.MAKERS)}")
    name, folder = sys.argv[1], Path(sys.argv[2])
    base = pipelines.build(name, folder / pipelines.FOLDERS[name])
    print(f"{base}\n{experts.build(name, base, folder / 'loras')}")


if __name__ == "__main__":
    main()
