"""The one thing pyproject.toml cannot say yet: the C kernels."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "astroprism._kernels",
            ["src/astroprism/_kernels.c"],
            # nobody reads errno or the floating-point traps, and the loops become vectors
            extra_compile_args=["-O3", "-Wall", "-fno-math-errno", "-fno-trapping-math"],
        )
    ]
)
