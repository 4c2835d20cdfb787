# One image with several roles: `api`, `worker` and what else `sealwax --help`
# lists. The default target is the production image; `--target local` adds the
# emulated AWS.
#
# BASE needs Python 3.11 or later with venv. An index of one's own, or a
# certificate, comes as a build secret and stays in no layer:
#   docker build --secret id=pip,src=pip.conf .
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_CONFIG_FILE=/run/secrets/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1
WORKDIR /src
# pip stays in an environment of its own: the image has none.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/sealwax
COPY requirements/base.txt ./
RUN --mount=type=secret,id=pip \
    /tools/bin/pip --python /opt/sealwax/bin/python install --quiet --require-hashes -r base.txt
COPY docker/build.txt ./
RUN --mount=type=secret,id=pip \
    /tools/bin/pip install --quiet --require-hashes -r build.txt
COPY LICENSE README.md pyproject.toml ./
COPY sealwax sealwax
RUN /tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/sealwax/bin/python install --quiet --no-index --no-deps \
        /wheels/*.whl

FROM ${BASE} AS runtime
# By number below, so that an orchestrator can see that it is not root; by name
# here, because Celery warns of ids without one.
RUN echo 'sealwax:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'sealwax:x:10001:' >>/etc/group
COPY --from=build /opt/sealwax /opt/sealwax
ENV HOME=/tmp \
    LANG=C.UTF-8 \
    PATH=/opt/sealwax/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SEALWAX_LIVENESS_FILE=/tmp/sealwax-liveness.json
# This service's own application: found in the folder in which roles start.
COPY sealwax.toml /app/
COPY api /app/api
COPY tasks /app/tasks
# The only folder that is written to: a tmpfs over a read-only root. Fargate has
# no tmpfs; declared here, its volume takes this folder's owner and mode.
VOLUME /tmp
WORKDIR /app
USER 10001:10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# No shell in between: the role gets the signals, as process 1 or from an init
# (`docker run --init`, compose's `init`, ECS's InitProcessEnabled).
ENTRYPOINT ["/opt/sealwax/bin/sealwax"]
CMD ["--help"]

FROM build AS build-local
RUN --mount=type=secret,id=pip \
    SEALWAX_EMULATOR_ENV=/opt/emulator /opt/sealwax/bin/python -m sealwax.local.environment

FROM runtime AS local
USER 0:0
COPY --from=build-local /opt/emulator /opt/emulator
# Volumes that are mounted here get this owner.
RUN install -d -o 10001 -g 10001 /state /config
ENV SEALWAX_EMULATOR_ENV=/opt/emulator
USER 10001:10001

# The last one is the default.
FROM runtime AS production
