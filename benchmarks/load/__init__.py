"""What a load test needs: a world of many rows, the web server as it runs in a clinic, and clinicians that cost little."""
