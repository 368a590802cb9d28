"""python -m astroprism.cli"""

from . import main

main()
