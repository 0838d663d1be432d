from tinyheap.transplanting.options import Options as Options
from tinyheap.transplanting.operation import Transplant as Transplant, perform as perform, transplant as transplant
from tinyheap.transplanting.verifying import ProgramRun as ProgramRun, Verification as Verification, verify as verify
