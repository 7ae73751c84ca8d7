"Packaging: everything that can vary is read from settings.ini."

import configparser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).resolve().parent
ini = configparser.ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    url=cfg["git_url"],
    license="Apache-2.0",
    keywords=cfg["keywords"].split(),
    python_requires=f">={cfg['min_python']}",
    classifiers=[f"Programming Language :: Python :: {python}" for python in cfg["pythons"].split()]
    + ["Intended Audience :: Education", "Typing :: Typed"],
    packages=find_packages(include=[cfg["lib_path"], f"{cfg['lib_path']}.*"]),
    package_data={
        cfg["lib_path"]: [
            "digits.zip",
            "digits.csv",
            "digits.md",
            "py.typed",
            "js/*",
            "results/*.json",
        ]
    },
    install_requires=cfg["requirements"].split(),
    extras_require={
        "dev": cfg["dev_requirements"].split(),
        "widget": cfg["widget_requirements"].split(),
        "onnx": cfg["onnx_requirements"].split(),
    },
    entry_points={
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
        "console_scripts": cfg["console_scripts"].split(),
    },
    zip_safe=False,
)
