# The recogniser on ROS 2 Jazzy, on the CPU, without PyTorch. How to build and run it: docs/robot.md.

FROM ros:jazzy-ros-base AS base
# What package.xml names beyond ros-base.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ros-jazzy-vision-msgs \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
# The environment sees the system's packages; ROS's compiled messages need NumPy 1.
COPY . /tmp/iospstl
RUN python3 -m venv --system-site-packages /opt/iospstl \
    && /opt/iospstl/bin/pip install --no-cache-dir /tmp/iospstl 'numpy<2'

FROM base
COPY --from=build /opt/iospstl /opt/iospstl
COPY docker/entrypoint /entrypoint
RUN useradd --create-home robot
USER robot
WORKDIR /home/robot
# Fast DDS would choose shared memory towards nodes outside, which belongs to another user there: every
# message would be lost without a word.
ENV VIRTUAL_ENV=/opt/iospstl FASTDDS_BUILTIN_TRANSPORTS=UDPv4 OPENBLAS_NUM_THREADS=1
# `ros2 launch` ends its nodes on this signal, and leaves them alone on SIGTERM.
STOPSIGNAL SIGINT
ENTRYPOINT ["/entrypoint"]
CMD ["ros2", "launch", "iospstl_ros", "recognizer.launch.py", "bundle:=/bundle"]
