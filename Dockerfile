# syntax=docker/dockerfile:1
# One image for web processes and workers. See docs/deploy.md.
#
#   docker build -t noa .
#   docker build -t noa:cuda --build-arg CMAKE_ARGS="-DGGML_CUDA=on -DGGML_NATIVE=off" \
#     --build-arg BUILD_IMAGE=nvidia/cuda:12.6.3-devel-ubuntu24.04 \
#     --build-arg RUN_IMAGE=nvidia/cuda:12.6.3-runtime-ubuntu24.04 .
ARG BUILD_IMAGE=python:3.11-slim-bookworm
ARG RUN_IMAGE=python:3.11-slim-bookworm

FROM ${BUILD_IMAGE} AS build
# Not for the processor of the machine that builds: with AVX2, which machines have since 2015.
ARG CMAKE_ARGS="-DGGML_NATIVE=off"
ENV CMAKE_ARGS=${CMAKE_ARGS} NOA_CACHE_DIR=/var/cache/noa PIP_CACHE_DIR=/var/cache/pip
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make \
 && { command -v python3 || apt-get install -y --no-install-recommends python3 python3-dev; } \
 && { python3 -c 'import ensurepip' || apt-get install -y --no-install-recommends python3-venv; } \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY Makefile ./
COPY requirements requirements
# llama.cpp takes minutes: its wheel outlives a change of everything above and below it.
RUN --mount=type=cache,target=/var/cache/noa --mount=type=cache,target=/var/cache/pip \
    make .venv/.llama
COPY LICENSE README.md manage.py pyproject.toml setup.py ./
COPY noa_site noa_site
COPY models_app models_app
COPY templates templates
RUN --mount=type=cache,target=/var/cache/pip \
    make setup && python3 -m compileall -q noa_site models_app

FROM ${RUN_IMAGE}
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 libstdc++6 \
 && { command -v python3 || apt-get install -y --no-install-recommends python3; } \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /var/lib/noa --shell /usr/sbin/nologin noa
COPY --from=build /app /app
WORKDIR /app
# The file system may be read-only: what is written goes to the data folder and to /tmp.
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NOA_DATA_DIR=/var/lib/noa NOA_HOST=0.0.0.0
USER 10001
VOLUME /var/lib/noa
EXPOSE 8000 8790
STOPSIGNAL SIGTERM
# Of a web process; a worker has another one, in docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["python", "manage.py", "serve"]
