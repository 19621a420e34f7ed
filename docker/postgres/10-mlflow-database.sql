-- Runs once, when the database volume is new. The image itself makes the database `prefect`.
CREATE DATABASE mlflow;
