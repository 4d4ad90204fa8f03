"""What frozen features are good for beside labels: forecasts."""
