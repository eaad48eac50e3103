# A model store as an image; its tag is the name of the revision that it holds, which `analyzer rollout --revision` goes by.
# The build's context is the store:
#
#   analyzer model pull default --store build/models
#   docker build -f deploy/docker/model.Dockerfile -t tinyroute-model:smollm2-135m-instruct-15-judge-1 build/models
#
# Checked here, in the pod before the server starts, and by the server before it says SERVING.
ARG ANALYZER=tinyroute-analyzer:0.1.0
FROM ${ANALYZER}
COPY active /opt/tinyroute/models/active
COPY revisions /opt/tinyroute/models/revisions
RUN analyzer model verify --store /opt/tinyroute/models
