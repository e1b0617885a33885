"""What `ipaas up` starts and watches; Prefect's server; retention; the demo."""
