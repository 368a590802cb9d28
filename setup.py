"""The one thing pyproject.toml cannot say yet: the C kernels."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "astroprism._kernels",
            ["src/astroprism/_kernels.c"],
            # errno and the floating-point traps are not read, and the loops become vectors; products and sums
            # are rounded one by one, so that every processor gives the bits that numpy gives
            extra_compile_args=[
                "-O3",
                "-Wall",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffp-contract=off",
            ],
            optional=True,  # without a compiler, numpy_kernels.py does the work
        )
    ]
)
