gst-launch-1.0 -e \
  nvurisrcbin name=source-0 uri=file:///videos/street.mp4 ! mux.sink_0 \
  nvstreammux name=mux batch-size=1 batched-push-timeout=4000000 width=1920 height=1080 \
    ! nvinfer name=gie-0 config-file-path=configs/pose.txt output-tensor-meta=1 \
    ! fakesink name=nowhere sync=0 async=0 enable-last-sample=0
