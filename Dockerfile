# One image for every role: `atalaya run ROLE`; without arguments it runs all of them.
# The last target, runtime, is the product. `demo` is the demo upstream of compose.yaml, `fake-langfuse` stands in for
# Langfuse in the proof of `./dev docker`, `test` runs the tests when it is run:
# docker run --rm "$(docker build -q --target test .)"
# The same inputs make the same layers (docs/decisions/0037-the-image.md). `./dev image` gives the arguments their values.

# hadolint global ignore=DL3008
# DL3008, versions of packages: Debian's stable release changes for security only, and then we want the change. What was
# installed is in the SBOM (`./dev sbom`).

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY dev .
RUN ./dev setup --build
COPY . .
# Another value makes everything anew from here on; `./dev docker` compares the outcome.
ARG AGAIN=
RUN ./dev build atalaya atalaya-gateway atalaya-llm-worker atalaya-telemetry fake-openai fake-langfuse \
    && mkdir /out \
    && for program in atalaya atalaya-gateway atalaya-llm-worker atalaya-telemetry fake-openai fake-langfuse; do \
        strip -o "/out/$program" "build/release/bin/$program"; \
    done

FROM build AS test
RUN ./dev setup
CMD ["./dev", "test"]

# What apt and useradd write differs between two equal installations only in lists, caches and logs, which are written to
# where they can be dropped, and in times: whatever they have touched gets the date of the base.
FROM debian:bookworm-slim AS libraries
ARG AGAIN=
RUN began=$(date +%s.%N) && mkdir -p /tmp/apt/lists/partial /tmp/apt/cache/archives/partial /tmp/apt/log \
    && printf 'Dir { State::Lists "/tmp/apt/lists"; Cache "/tmp/apt/cache"; Log "/tmp/apt/log"; };\n%s\n' \
        'DPkg::Options { "--log=/dev/null"; };' >/tmp/apt/conf \
    && export APT_CONFIG=/tmp/apt/conf DEBIAN_FRONTEND=noninteractive \
    && apt-get -qq update \
    && apt-get -y -qq --no-install-recommends install \
        ca-certificates libcivetweb1 libcurl4 libjansson4 libmsgpackc2 libprotobuf-c1 libsodium23 libsqlite3-0 \
        libutf8proc2 libzmq5 zlib1g >/dev/null \
    && groupadd --gid 10001 atalaya \
    && SOURCE_DATE_EPOCH=0 useradd --uid 10001 --gid atalaya --no-create-home --home-dir /var/lib/atalaya \
        --shell /usr/sbin/nologin --no-log-init atalaya \
    && install -d -m 0700 -o atalaya -g atalaya /var/lib/atalaya /run/atalaya \
    && rm -rf /tmp/apt && : >/var/cache/ldconfig/aux-cache \
    && find / -xdev -newermt "@$began" ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' ! -path /etc/hosts \
        ! -path /etc/hostname ! -path /etc/resolv.conf -exec touch -h -r /etc/debian_version {} +

# Our files in their places, all with the date of the commit, which is in the folder's name, too: BuildKit takes a layer for
# the same whose files differ in their dates only. A library that is missing above shows here.
FROM libraries AS tree
ARG SOURCE_DATE_EPOCH=0
WORKDIR /tree
COPY --from=build /out/atalaya /out/atalaya-gateway /out/atalaya-llm-worker /out/atalaya-telemetry runtime/usr/local/bin/
COPY --from=build /src/infra/debian/copyright runtime/usr/share/doc/atalaya/
COPY --from=build /out/fake-openai demo/usr/local/bin/
COPY --from=build /out/fake-langfuse langfuse/usr/local/bin/
RUN for program in runtime/usr/local/bin/*; do "$program" --version >/dev/null || exit 1; done \
    && demo/usr/local/bin/fake-openai --help >/dev/null && langfuse/usr/local/bin/fake-langfuse --help >/dev/null \
    && for each in runtime demo langfuse; do mv "$each" "$each-$SOURCE_DATE_EPOCH" || exit 1; done \
    && chmod -R u=rwX,go=rX . && find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

FROM libraries AS empty
# The number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/atalaya

FROM empty AS demo
ARG SOURCE_DATE_EPOCH=0
COPY --from=tree /tree/demo-$SOURCE_DATE_EPOCH/ /
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["fake-openai", "--port", "8080", "--answers"]
ENTRYPOINT ["fake-openai", "--demo", "--host", "0.0.0.0", "--port", "8080"]

FROM empty AS fake-langfuse
ARG SOURCE_DATE_EPOCH=0
COPY --from=tree /tree/langfuse-$SOURCE_DATE_EPOCH/ /
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["fake-langfuse", "--port", "3000", "--answers"]
ENTRYPOINT ["fake-langfuse", "--host", "0.0.0.0", "--port", "3000"]

FROM empty AS runtime
ARG SOURCE_DATE_EPOCH=0
COPY --from=tree /tree/runtime-$SOURCE_DATE_EPOCH/ /
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="atalaya" \
      org.opencontainers.image.description="Answers questions with a language model and never loses sight of one" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.created="$CREATED"
EXPOSE 8000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["atalaya", "status"]
ENTRYPOINT ["atalaya"]
CMD ["run"]
