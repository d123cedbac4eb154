import{b as e,g as t,i as n,t as r}from"./html.js";import{C as i,D as a,O as o,s,w as c}from"./app.js";function l(e){c(t=>r`<${u} ...${{change:e,close:t}} />`)}function u({change:o,close:c}){let[l,u]=e(o.body),[p,m]=e({}),[h,g]=e(),[_,v]=e(``),[y,b]=e(``),[x,S]=e(!1),[C,w]=e(0),T=JSON.stringify(l);t(()=>{if(o.foretells!==!0)return;let e=!1;return d(o,l,{dryRun:`true`}).then(t=>e||m(t),t=>e||g(t)),()=>{e=!0}},[T,C]);let E=o.danger===!0&&(o.count??0)>100,D=!x&&(!E||y===String(o.count)),O=async()=>{if(D){S(!0);try{let e=await d(o,l,{..._!==``&&{reason:_},...typeof p.expect==`string`&&{expect:p.expect}});i.text=`${o.done} ${f(e.effect).join(` `)}`.trim(),i.until=Date.now()+1e4,o.after?.(),c()}catch(e){let t=e;t.status===409&&w(C+1),g(t),S(!1)}}};a({"Ctrl Enter":O});let k=f(p.effect),A=(e,t)=>r`<dt>${e}</dt><dd>${t}</dd>`;return r`<h2 id="dialog-title">${o.title}</h2>
<dl>
${A(`Now`,o.now)} ${A(`Then`,k.length===0?o.follows:k.map(e=>r`<div>${e}</div>`))}
${o.other&&A(o.other[0],o.other[1])} ${A(`Undo`,typeof p.undo==`string`&&p.undo!==``?p.undo:o.undo)}
${A(`Command`,r`<code>${o.command}</code>`)} ${o.choices&&A(`For`,o.choices(l,u))}
</dl>
${h&&r`<p class="problem" role="alert"><b>${h.status===409?`The state has changed; nothing was done.`:`${h.title}.`}</b> ${h.detail}</p>`}
<div class="buttons">
${o.reasons===!0?r`<input aria-label="Reason, for the log" placeholder="Reason, for the log (optional)" maxlength="200" value=${_} onInput=${e=>v(e.target.value)} />`:r`<i />`}
${E&&r`<input class="count" aria-label=${`Type ${o.count} to confirm`} placeholder=${`Type ${n(o.count??0)}`} value=${y} onInput=${e=>b(e.target.value.replaceAll(`,`,``))} />`}
<button data-first onClick=${c}>${o.keep} ${s(`Esc`)}</button>
<button class=${o.danger===!0?`danger`:`solid`} disabled=${!D} onClick=${O}>${o.confirm} ${s(`Ctrl ⏎`)}</button>
</div>`}function d({method:e,path:t},n,r){let i=new URLSearchParams(r).toString();return o(e,i===``?t:`${t}?${i}`,e===`DELETE`?void 0:n)}function f(e){return typeof e==`string`?e===``?[]:[e]:Array.isArray(e)?e.map(String):[]}export{l as t};