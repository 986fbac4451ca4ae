import sys
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(COMPARE), str(COMPARE / "peers")]
