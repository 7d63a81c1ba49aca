# What every node of a Ray cluster runs (KubeRay's worker and head image), or one machine without a Python of its own:
#   docker build -t dataengine .
#   docker run --rm -v "$PWD/work:/work" dataengine dataengine render corpus
FROM python:3.11-slim-bookworm

# Blender's libraries, as scripts/setup.sh and `dataengine doctor` name them, and bubblewrap, which --sandbox bwrap uses
# where the container may make user namespaces.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libgl1 libsm6 \
        libice6 libxext6 libegl1 bubblewrap wget \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dataengine
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY dataengine ./dataengine
RUN pip install --no-cache-dir -c constraints.txt ".[all,s3]" \
    && useradd --create-home --uid 1000 ray

# A plain user: no file of a stranger is rendered as root.
USER 1000
WORKDIR /work
ENV RAY_USAGE_STATS_ENABLED=0
CMD ["dataengine", "--help"]
