# mailapp in a container: deno task build, then docker build -t mailapp . See docs/guide/containers.md.
FROM debian:bookworm-slim
# Volumes outlive images: the account has the same number in each.
RUN groupadd --gid 2525 mailapp \
  && useradd --uid 2525 --gid 2525 --no-create-home --home-dir /var/lib/mailapp --shell /usr/sbin/nologin mailapp \
  && install -d -o mailapp -g mailapp -m 0755 /etc/mailapp \
  && install -d -o mailapp -g mailapp -m 0751 /var/lib/mailapp \
  && install -d -o mailapp -g mailapp -m 2770 /var/mail
COPY --chmod=0755 dist/mailapp /usr/local/bin/mailapp
COPY --chmod=0755 contrib/container/entrypoint.sh /usr/local/bin/mailapp-container
# The portable form unpacks itself here, once for all containers; a compiled one only says who it is.
RUN mailapp --version
USER mailapp
VOLUME ["/etc/mailapp", "/var/lib/mailapp", "/var/mail"]
EXPOSE 25 465 587
HEALTHCHECK --interval=60s --timeout=10s --start-period=10s CMD ["mailapp", "healthcheck", "serve-in"]
ENTRYPOINT ["mailapp-container"]
CMD ["serve-in"]
