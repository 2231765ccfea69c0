# One image for every role: `atalaya run ROLE`; without arguments it runs all of them.
# The last target, runtime, is the product. `demo` is the demo upstream of compose.yaml, `test` runs the tests
# when it is run: docker run --rm "$(docker build -q --target test .)"

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY dev .
RUN ./dev setup --build
COPY . .
RUN ./dev build atalaya atalaya-gateway atalaya-llm-worker atalaya-telemetry fake-openai \
    && mkdir /out \
    && for program in atalaya atalaya-gateway atalaya-llm-worker atalaya-telemetry fake-openai; do \
        strip -o "/out/$program" "build/release/bin/$program"; \
    done

FROM build AS test
RUN ./dev setup
CMD ["./dev", "test"]

FROM debian:bookworm-slim AS libraries
RUN apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends install \
        ca-certificates libcivetweb1 libcurl4 libjansson4 libmsgpackc2 libprotobuf-c1 libsodium23 libsqlite3-0 \
        libutf8proc2 libzmq5 zlib1g >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 atalaya \
    && useradd --uid 10001 --gid atalaya --no-create-home --home-dir /var/lib/atalaya --shell /usr/sbin/nologin atalaya \
    && install -d -m 0700 -o atalaya -g atalaya /var/lib/atalaya /run/atalaya
# The number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/atalaya

FROM libraries AS demo
COPY --from=build /out/fake-openai /usr/local/bin/
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"]
ENTRYPOINT ["fake-openai", "--demo", "--host", "0.0.0.0", "--port", "8080"]

FROM libraries AS runtime
COPY --from=build /out/atalaya /out/atalaya-gateway /out/atalaya-llm-worker /out/atalaya-telemetry /usr/local/bin/
# A library that is missing above shows here.
RUN atalaya version && atalaya-gateway --version && atalaya-llm-worker --version && atalaya-telemetry --version
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="atalaya" \
      org.opencontainers.image.description="Answers questions with a language model and never loses sight of one" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 8000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["atalaya", "status"]
ENTRYPOINT ["atalaya"]
CMD ["run"]
