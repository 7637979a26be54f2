# syntax=docker/dockerfile:1
# One image for all: operator, consumers, producers, the embedded endpoints and `kinex run`.
#
#   docker build --tag kinex:dev .
#
# Behind a mirror: --build-arg RUST_IMAGE=mirror/rust:1.95-slim-bookworm. RUNTIME_IMAGE may be any image that has no
# C library of its own or may lose it: the executable brings along the one that it was linked with.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=scratch

FROM ${RUST_IMAGE} AS chef
WORKDIR /build
RUN cargo install --locked cargo-chef --version 0.1.78

# The recipe is the dependencies without our code. It changes when they do, and only then are they built again.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /build/recipe.json recipe.json
RUN cargo chef cook --locked --release --bin kinex --recipe-path recipe.json
COPY . .
RUN cargo build --locked --release --bin kinex && deploy/image/root target/release/kinex /image

FROM ${RUNTIME_IMAGE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="kinex" \
      org.opencontainers.image.description="Repeatable rebalancing experiments on Kinesis consumer fleets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /image /
USER 10001:10001
WORKDIR /
ENV PATH=/usr/local/bin
EXPOSE 4566 9090
ENTRYPOINT ["/usr/local/bin/kinex"]
