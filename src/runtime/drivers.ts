/** How a sandbox is made. `native`: by cooper itself; `oci`: by an OCI runtime; `chroot`: where nothing may be mounted. */
export type DriverName = "native" | "oci" | "chroot";
