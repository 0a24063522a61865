# syntax=docker/dockerfile:1.20
# glibc, not musl: the service waits for nothing but its own allocator, and the distroless image below brings glibc, the certificates
# and a user; a static build would save 10 MB and cost a second toolchain. Builder and image are of the same Debian release.
FROM rust:1.95.0-slim-trixie AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake gcc g++ libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Registry and target are caches of the builder: a changed line builds the package alone, and neither is a layer.
# No -C target-cpu: kernels are chosen when the program starts.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    cargo build --locked --profile dist --package qeetid && \
    install -D --mode=0755 target/dist/qeetid /out/usr/local/bin/qeetid && \
    install -D --mode=0644 LICENSE /out/usr/share/doc/qeetid/LICENSE && \
    install -d --mode=0700 /out/var/lib/qeetid

# cc: glibc and libgcc; nonroot is user 65532. No shell: `kubectl exec` runs `qeetid` alone.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /out/usr /usr
COPY --from=build --chown=65532:65532 /out/var/lib/qeetid /var/lib/qeetid
# Loopback, the default, is nobody's in a container.
ENV QEETID_DATA_DIR=/var/lib/qeetid QEETID_LOG_FORMAT=json QEETID_LISTEN=0.0.0.0:4001
USER 65532:65532
WORKDIR /var/lib/qeetid
EXPOSE 4001
# No HEALTHCHECK: whoever runs it asks /healthz and /readyz. SIGTERM drains within 20 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/qeetid"]
CMD ["serve"]
