from tinyheap.transplanting.options import Options as Options
from tinyheap.transplanting.transplant import Transplant as Transplant, transplant as transplant, transplanted as transplanted
