# ECG-JEPA's page and API on a CPU, as an ordinary user without rights.
#
#   docker build --build-arg TORCH_INDEX=URL -t ecgjepa .     URL: PyTorch's own index of CPU builds; without it pip's
#                                                             default build is taken, which works and is far larger
#   docker run --rm -p 127.0.0.1:8000:8000 -e ECGJEPA_TOKEN=... -v "$PWD/runs:/data:ro" ecgjepa \
#       serve --host 0.0.0.0 --ckpt /data/tiny
#
# Versions: torch as constraints.txt says, everything else as requirements.lock says, with hashes.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/ecgjepa
WORKDIR /src
COPY constraints.txt requirements.lock ./
RUN /opt/ecgjepa/bin/pip install --require-hashes -r requirements.lock
RUN /opt/ecgjepa/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY ecgjepa ecgjepa
RUN /opt/ecgjepa/bin/pip install --no-deps . && /opt/ecgjepa/bin/pip check

FROM ${BASE}
RUN useradd --system --uid 10001 --create-home --home-dir /home/ecgjepa ecgjepa
COPY --from=build /opt/ecgjepa /opt/ecgjepa
ENV PATH=/opt/ecgjepa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER ecgjepa
WORKDIR /home/ecgjepa
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["ecgjepa"]
CMD ["serve", "--help"]
