import('@huggingface/hub').then(h=>console.log(h))
