from tinyheap.symbols.places import Place as Place, Places as Places
from tinyheap.symbols.reading import places_of as places_of
